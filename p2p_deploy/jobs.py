"""Which inputs there are and where each output goes: settled, and refused if need be, before any work."""

from __future__ import annotations

import itertools
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from p2p_deploy.errors import InputError, OutputError
from p2p_deploy.files import refuse_existing
from p2p_deploy.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_video

IMAGE_OUTPUT_SUFFIX = ".png"


@dataclass(frozen=True, slots=True)
class Job:
    """One input file and its output.

    Attributes:
        source: the file to read.
        output: the file to write.
        name: the source relative to the folder that was asked for, with forward slashes; its name in the record.
    """

    source: Path
    output: Path
    name: str


@dataclass(frozen=True, slots=True)
class JobList:
    """What a run will do.

    Attributes:
        jobs: in order of name.
        folder: the output folder, which also holds the record; None when OUT is the one output file itself.
        ignored: how many files of other kinds were passed over.
        skipped: how many inputs were left out because an earlier run has done them.
    """

    jobs: tuple[Job, ...]
    folder: Path | None
    ignored: int = 0
    skipped: int = 0


def plan_jobs(source: Path, out: Path, *, recursive: bool = False, overwrite: bool = False) -> JobList:
    """List the inputs and lay out the outputs.

    Args:
        source: an image, a video, or a folder of both.
        out: the output folder, which mirrors the tree of ``source``; or, for a single input, the output file itself
            when it has the suffix of an image or a video. Images become PNG, videos keep their container.
        recursive: descend into sub-folders; symbolic links to folders are not followed.
        overwrite: allow existing outputs to be replaced.

    Raises:
        InputError: there is nothing to do.
        OutputError: an output exists, or would lie among the inputs.
    """
    try:
        return _plan(source, out, recursive, overwrite)
    except PermissionError as exc:
        raise InputError(f"{exc.filename} cannot be looked at: {exc.strerror}. Take folders you may read.") from exc


def _plan(source: Path, out: Path, recursive: bool, overwrite: bool) -> JobList:
    if source.is_dir():
        _refuse_out_inside(source, out)
        listing = _list_folder(source, recursive)
        jobs = _lay_out(source, listing.files, out)
        if not jobs:
            raise InputError(_nothing_found(source, listing, recursive))
        plan = JobList(tuple(jobs), out, listing.ignored)
    elif source.is_file():
        plan = _single(source, out)
    else:
        what = "is no file or folder" if source.exists() else "does not exist"
        raise InputError(f"{source} {what}. Expected an image, a video or a folder of them.")
    if plan.folder is not None and plan.folder.exists() and not plan.folder.is_dir():
        raise OutputError(f"{plan.folder} is a file, and the outputs need a folder of that name. Choose another place.")
    _refuse_among_inputs(source, plan)
    refuse_existing([job.output for job in plan.jobs], overwrite)
    return plan


@dataclass(frozen=True)
class _Listing:
    files: list[Path]
    ignored: int
    folders: int


def _list_folder(folder: Path, recursive: bool) -> _Listing:
    """Media files below ``folder``, sorted; hidden files are left alone."""
    files, ignored, folders = [], 0, 0
    for found in _walk(folder, recursive):
        if found.is_dir():
            folders += 1
        elif found.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and (found.is_file() or not found.exists()):
            files.append(found)  # a dangling link is an input that fails; a pipe or a socket is none
        else:
            ignored += 1
    return _Listing(sorted(files), ignored, folders)


def _walk(folder: Path, recursive: bool) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename} cannot be listed: {error.strerror}.") from error

    for root, folders, files in os.walk(folder, onerror=refuse):
        yield from (Path(root, name) for name in folders + files if not name.startswith("."))
        folders[:] = [name for name in folders if recursive and not name.startswith(".")]


def _lay_out(source: Path, files: list[Path], out: Path) -> list[Job]:
    """Mirror the tree; no two inputs share an output, and none takes the name of a folder.

    Where two would (a.jpg, a.bmp), each keeps its suffix (a.jpg.png, a.bmp.png), and what still collides gets a number.
    Names are compared without case, because some file systems do.
    """
    names = [file.relative_to(source) for file in files]
    wanted = [name if is_video(name) else name.with_suffix(IMAGE_OUTPUT_SUFFIX) for name in names]
    folders = {_folded(parent) for name in names for parent in name.parents}
    claims = Counter(_folded(target) for target in wanted) + Counter(folders)
    taken = {folded for folded, count in claims.items() if count == 1} | folders
    jobs = []
    for file, name, target in zip(files, names, wanted, strict=True):
        if claims[_folded(target)] > 1:
            target = _free_name(name.with_name(name.name + target.suffix), taken)
            taken.add(_folded(target))
        jobs.append(Job(file, out / target, name.as_posix()))
    return jobs


def _folded(path: Path) -> str:
    return str(path).casefold()


def _free_name(path: Path, taken: set[str]) -> Path:
    for number in itertools.count(2):
        if _folded(path) not in taken:
            break
        path = path.with_name(f"{path.stem.removesuffix(f'-{number - 1}')}-{number}{path.suffix}")
    return path


def _single(source: Path, out: Path) -> JobList:
    suffix = source.suffix.lower()
    if suffix not in IMAGE_SUFFIXES + VIDEO_SUFFIXES:
        raise InputError(
            f"{source} is not an image or video this program knows by its suffix; expected one of "
            f"{' '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)}."
        )
    if out.suffix.lower() in IMAGE_SUFFIXES + VIDEO_SUFFIXES and not out.is_dir():
        if is_video(source) != is_video(out):
            raise OutputError(
                f"{source} is {_kind(source)} and cannot become {out.name}, {_kind(out)}. Choose another suffix, "
                "or a folder."
            )
        if is_video(source) and out.suffix.lower() != suffix:
            raise OutputError(
                f"{source.name} cannot become {out.name}: a video keeps its container. Name the output *{suffix}, "
                "or a folder."
            )
        return JobList((Job(source, out, source.name),), None)
    name = source.name if is_video(source) else source.with_suffix(IMAGE_OUTPUT_SUFFIX).name
    return JobList((Job(source, out / name, source.name),), out)


def _refuse_among_inputs(source: Path, plan: JobList) -> None:
    """No output may replace its input, or land in the input folder (as with OUT above IN and IN in itself)."""
    root = _real(source)
    for job in plan.jobs:
        output = _real(job.output.parent) / job.output.name
        if output == _real(job.source):
            raise OutputError(f"{job.output} would replace its own input. Choose another output folder.")
        if source.is_dir() and root in output.parents:
            raise OutputError(f"{job.output} would lie inside the input folder {source}. Choose another output folder.")


def _refuse_out_inside(source: Path, out: Path) -> None:
    inside, outside = _real(out), _real(source)
    if inside == outside or outside in inside.parents:
        raise OutputError(
            f"The output folder {out} lies inside the input folder {source}, where outputs would become inputs of the "
            "next run. Choose a folder outside it."
        )


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises at a link that leads to itself


def _nothing_found(source: Path, listing: _Listing, recursive: bool) -> str:
    hint = (
        f" It has {listing.folders} sub-folders; add --recursive to descend."
        if listing.folders and not recursive
        else ""
    )
    others = f" ({listing.ignored} files of other kinds)" if listing.ignored else ""
    return f"{source} holds no images or videos{others}.{hint}"


def _kind(path: Path) -> str:
    return "a video" if is_video(path) else "a still image"
