"""Which inputs there are and where each output goes: settled, and refused if need be, before any work.

A run may have a million inputs, so what is kept of one is its name, packed (``output_names.pack``); paths are made when
its turn comes. The inputs are those that were there when the run was planned: one that has gone since fails, and one
that has come since is left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from p2p_deploy.errors import InputError, OutputError
from p2p_deploy.files import refuse_existing
from p2p_deploy.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES, is_video, output_suffix
from p2p_deploy.media.raw_frames import STANDARD_STREAM
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import output_names
from p2p_deploy.runner.conflicts import ConflictCheck, inside, real
from p2p_deploy.runner.discovery import MEDIA_SUFFIXES, Folder, Pattern, join, split_pattern, walk
from p2p_deploy.runner.record import RECORD_NAME


@dataclass(frozen=True, slots=True)
class Job:
    """One input file and its output.

    Attributes:
        source: the file to read.
        output: the file to write.
        name: the source relative to the folder that was asked for, with forward slashes; its name in the record.
        note: why the output is named as it is, where that is not after the rule.
    """

    source: Path
    output: Path
    name: str
    note: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobList:
    """What a run will do; iterating gives its jobs, as often as one likes: the files of a folder, then its sub-folders.

    Attributes:
        folder: the output folder, which also holds the record; None when OUT is the one output file itself.
        root: the folder that names start from.
        out: the folder that outputs go to.
        ext: see ``output_names.output_name``.
        packed: a slash and the path of each folder with inputs, below ``root``, and after it its entries.
        total: how many jobs there are.
        stills: how many of them are images; the others are videos.
        ignored: how many files of other kinds were passed over.
        skipped: how many inputs were left out because an earlier run has done them.
    """

    folder: Path | None
    root: Path
    out: Path
    ext: str
    packed: tuple[bytes, ...]
    total: int
    stills: int
    ignored: int = 0
    skipped: int = 0

    def __iter__(self) -> Iterator[Job]:
        return (job for _, job in self._read() if job)

    def folders(self) -> Iterator[Path]:
        """Every folder that outputs go to."""
        return (self.out / entry[1:] for entry, job in self._read() if not job)

    def without(self, done: Callable[[Job], bool]) -> JobList:
        """Leave out the jobs that are done; they count as skipped."""
        total = stills = 0

        def left() -> Iterator[str]:
            nonlocal total, stills
            for entry, job in self._read():
                if job and done(job):
                    continue
                yield entry
                total += job is not None
                stills += job is not None and output_names.is_still(job.name)

        packed = output_names.pack(left())
        skipped = self.skipped + self.total - total
        return replace(self, total=total, stills=stills, skipped=skipped, packed=packed)

    def _read(self) -> Iterator[tuple[str, Job | None]]:
        """Each entry; with its job, or with None for that of a folder."""
        relative, source, output = "", self.root, self.out
        for entry in output_names.unpack(self.packed):
            if entry[0] == "/":
                relative = entry[1:]
                source, output = self.root / relative, self.out / relative
                yield entry, None
            else:
                name, target, note = output_names.read_entry(entry, self.ext)
                yield entry, Job(source / name, output / target, join(relative, name), note)


def list_jobs(source: Path, out: Path, options: RunOptions = RunOptions()) -> JobList:
    """List the inputs and name the outputs.

    Args:
        source: an image, a video, or a folder of both; or, where there is no such file, a pattern such as
            ``photos/**/*.jpg``, whose names start from the folder before its first wildcard. A pattern follows no
            symbolic links to folders, and finds no hidden files.
        out: the output folder, which mirrors the tree of ``source``; or, for a single input, the output file itself
            when it has the suffix of an image or a video. Videos keep their container.
        options: of the run. Symbolic links to folders are not followed. With ``limit`` the first inputs are named as if
            all were taken; where ``same`` cannot be written, ``ext`` is png; a single output file says its own.

    Raises:
        InputError: there is nothing to do.
        OutputError: an output exists and may not be replaced, or would lie among the inputs.
    """
    try:
        return _list_jobs(source, out, options)
    except OSError as exc:
        hint = " Take folders you may read." if isinstance(exc, PermissionError) else ""
        raise InputError(f"{exc.filename} cannot be looked at: {exc.strerror}.{hint}") from exc


def pipe_job() -> JobList:
    """The one job of a run over raw frames from standard input to standard output."""
    packed = output_names.pack(["/", output_names.entry(str(STANDARD_STREAM), str(STANDARD_STREAM))])
    return JobList(folder=None, root=Path(), out=Path(), ext="same", packed=packed, total=1, stills=1)


def _list_jobs(source: Path, out: Path, options: RunOptions) -> JobList:
    overwrite, ext = options.overwrite or options.resume, options.ext
    if ext != "same" and f".{ext}" not in output_names.WRITTEN_SUFFIXES:  # AVIF, where OpenCV has none
        written = " ".join(sorted(output_names.WRITTEN_SUFFIXES))
        raise OutputError(f".{ext} cannot be written here. Choose an `ext` among {written}, or same.")
    if out.exists() and not out.is_dir() and not is_one_file(source, out):
        raise OutputError(f"{out} is a file, and the outputs need a folder of that name. Choose another place.")
    if source.is_file():
        return _single(source, out, overwrite, ext)
    if source.is_dir():
        _refuse_out_inside(source, out)
        pattern = Pattern("**" if options.recursive else "*")
        lister = _Lister(ConflictCheck(source, out, pattern, None, overwrite, ext), options.limit)
        jobs = lister.jobs()
        if not jobs.total:
            raise InputError(_nothing_found(source, jobs.ignored, 0 if options.recursive else lister.passed_over))
        return jobs
    split = None if source.exists() else split_pattern(source)
    if split is None:
        what = "is no file or folder" if source.exists() else "does not exist"
        raise InputError(f"{source} {what}. Expected an image, a video or a folder of them.")
    root, pattern = split
    if not root.is_dir():
        raise InputError(f"{source} starts from {root}, which is no folder. Expected a pattern such as photos/*.jpg.")
    jobs = _Lister(ConflictCheck(root, out, pattern, source, overwrite, ext), options.limit).jobs()
    if not jobs.total:
        others = f"only {jobs.ignored} files of other kinds" if jobs.ignored else "nothing"
        raise InputError(f"{source} matches {others}. Expected a pattern of images or videos, such as photos/*.jpg.")
    return jobs


@dataclass(slots=True)
class _Lister:
    """Goes through a tree once, and counts on the way.

    Attributes:
        conflicts: knows the tree, and refuses outputs.
        limit: how many inputs are taken at most.
        passed_over: how many sub-folders are not descended into; the others are those of ``JobList``.
    """

    conflicts: ConflictCheck
    limit: int | None
    total: int = 0
    stills: int = 0
    ignored: int = 0
    passed_over: int = 0

    def jobs(self) -> JobList:
        """List, name, and refuse what has to be."""
        tree, packed = self.conflicts, output_names.pack(self._entries())
        tree.refuse_existing()
        counts = {"total": self.total, "stills": self.stills, "ignored": self.ignored}
        return JobList(folder=tree.out, root=tree.root, out=tree.out, ext=tree.ext, packed=packed, **counts)

    def _entries(self) -> Iterator[str]:
        tree = self.conflicts
        for group in walk(tree.root, tree.pattern):
            files = group[0].files if len(group) == 1 else [name for folder in group for name in folder.files]
            entries = output_names.name_outputs(files, (name for folder in group for name in folder.folders), tree.ext)
            start = 0
            for folder in group:
                self.ignored += folder.ignored
                self.passed_over += folder.passed_over
                mine = entries if len(group) == 1 else entries[start : start + len(folder.files)]
                start += len(mine)
                yield from self._take(folder, mine)
                if self.total == self.limit:
                    return

    def _take(self, folder: Folder, entries: list[str]) -> Iterator[str]:
        """The entries of one folder, as far as the limit allows, after they have been found to be in order."""
        if self.limit is not None:
            entries = entries[: self.limit - self.total]
        if not entries:
            return
        if folder.relative.partition("/")[0] == RECORD_NAME:
            raise OutputError(
                f"{self.conflicts.root / RECORD_NAME} is a folder, and in {self.conflicts.out} its name is taken by "
                "the record of the run. Rename it, or leave it out."
            )
        self.conflicts.check(folder, entries)
        self.total += len(entries)
        self.stills += sum(map(output_names.is_still, folder.files[: len(entries)]))
        yield f"/{folder.relative}"
        yield from entries


def is_one_file(source: Path, out: Path) -> bool:
    """Whether OUT is the output file itself and not a folder."""
    return (
        source.is_file() and out.suffix.lower() in MEDIA_SUFFIXES | output_names.WRITTEN_SUFFIXES and not out.is_dir()
    )


def _single(source: Path, out: Path, overwrite: bool, ext: str) -> JobList:
    suffix = source.suffix.lower()
    if suffix not in MEDIA_SUFFIXES:
        raise InputError(
            f"{source} is not an image or video this program knows by its suffix; expected one of "
            f"{' '.join(IMAGE_SUFFIXES + VIDEO_SUFFIXES)}."
        )
    folder: Path | None = out
    output = out / output_names.output_name(source.name, ext)
    if is_one_file(source, out):
        _refuse_unfit(source, out)
        folder, output = None, out
    if real(output.parent) / output.name == real(source):
        raise OutputError(f"{output} would replace its own input. Choose another output folder.")
    refuse_existing([output], overwrite)
    packed = output_names.pack(["/", output_names.entry(source.name, output.name)])
    stills = int(not is_video(source))
    return JobList(folder=folder, root=source.parent, out=output.parent, ext=ext, packed=packed, total=1, stills=stills)


def _refuse_unfit(source: Path, out: Path) -> None:
    """An output file has to be of a kind that its input can become."""
    if is_video(source) != is_video(out):
        raise OutputError(
            f"{source} is {_kind(source)} and cannot become {out.name}, {_kind(out)}. Choose another suffix, "
            "or a folder."
        )
    suffix = out.suffix.lower()
    if not is_video(source):
        if suffix not in output_names.WRITTEN_SUFFIXES:
            written = " ".join(sorted(output_names.WRITTEN_SUFFIXES))
            raise OutputError(f"{out.name}: {suffix} is read and not written. Choose one of {written}, or a folder.")
    elif suffix != (kept := output_suffix(source.suffix).lower()):
        raise OutputError(
            f"{source.name} cannot become {out.name}: a video keeps its container. Name the output *{kept}, "
            "or a folder."
        )


def _refuse_out_inside(source: Path, out: Path) -> None:
    if inside(real(out), real(source)) is not None:
        raise OutputError(
            f"The output folder {out} lies inside the input folder {source}, where outputs would become inputs of the "
            "next run. Choose a folder outside it."
        )


def _nothing_found(source: Path, ignored: int, folders: int) -> str:
    hint = f" It has {folders} sub-folders; add `recursive=True` to descend." if folders else ""
    others = f" ({ignored} files of other kinds)" if ignored else ""
    return f"{source} holds no images or videos{others}.{hint}"


def _kind(path: Path) -> str:
    return "a video" if is_video(path) else "a still image"
