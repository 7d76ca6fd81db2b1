"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from p2p_deploy.errors import Failed, ItemFailed, OutputError, P2PError

_serial = itertools.count()

NO_WAITING = getattr(os, "O_NONBLOCK", 0)  # for a reader, where the name is taken by a pipe


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path``: same file system, same suffix, never given twice, short enough for any disk."""
    return Path(temporary_path(os.fspath(path)))


def temporary_path(path: str) -> str:
    """``temporary_name`` of strings, in a third of the time, which counts where files are small and many."""
    folder, slash, name = path.rpartition(os.sep)
    stem, suffix = os.path.splitext(name)  # noqa: PTH122
    return f"{folder}{slash}.{stem[:40]}.{os.getpid()}-{next(_serial)}.part{suffix}"


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name to write to; it becomes ``path`` when the block ends well and is removed when not.

    Raises:
        OutputError: the folder or the file cannot be written.
    """
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {exc.strerror or exc}.") from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def parents_made(path: Path) -> Iterator[None]:
    """Make the folders above ``path``; when the block fails, those made here are removed again if they are empty.

    Raises:
        OutputError: they cannot be made.
    """
    missing = [folder for folder in path.parents if not folder.exists()]  # the innermost first
    try:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            what = "is no folder" if path.parent.exists() else f"cannot be made a folder: {exc.strerror or exc}"
            raise OutputError(f"{path.parent} {what}. Nothing was written. Choose another place.") from exc
        yield
    except BaseException:
        for folder in missing:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


# What the operating system says when the place, and not the data, is at fault.
DISK_ERRORS = frozenset(
    (
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS),
        *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR),
    )
)


def write_failure(path: Path, exc: OSError) -> P2PError:
    """What to raise when ``path`` could not be written.

    Returns:
        Failed where the place is at fault (no room, no permission, a disk that went away), so that nothing else would
        fit either; ItemFailed where it is this one name, such as one too long.
    """
    if exc.errno not in DISK_ERRORS:
        return ItemFailed(f"{path} cannot be written: {exc.strerror or exc}.")
    hint = {
        errno.ENOSPC: " Free some space",
        errno.EDQUOT: " Free some of your quota",
        errno.EFBIG: " Raise the file-size limit (ulimit -f)",
        errno.EACCES: " Take a folder you may write to",
        errno.EPERM: " Take a folder you may write to",
        errno.EROFS: " Take a folder you may write to",
    }.get(exc.errno or 0, " Repair the disk")
    return Failed(f"{path} cannot be written: {exc.strerror or exc}.{hint} and run again with `overwrite=True`.")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raise OutputError when one of ``paths`` exists and may not be overwritten, or is a folder."""
    folder = next((path for path in paths if os.path.isdir(path)), None)  # noqa: PTH112 - Path.is_dir may raise
    if folder is not None:
        raise is_a_folder(folder)
    existing = [path for path in paths if os.path.exists(path)]  # noqa: PTH110
    if existing and not overwrite:
        raise exists_already(existing[0], len(existing))


def is_a_folder(path: Path) -> OutputError:
    """What to raise when a folder has the name of a file that is to be written."""
    return OutputError(f"{path} is a folder, and a file would take its name. Choose another place.")


def exists_already(first: Path, count: int) -> OutputError:
    """What to raise when so many files that are to be written exist."""
    more = f" and {count - 1} more" if count > 1 else ""
    return OutputError(f"{first}{more} exists already. Choose another place, or replace it with `overwrite=True`.")


def link_or_copy(source: Path, target: Path) -> None:
    """Another name for a file that is only ever replaced whole; a copy where the disk has no such names."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
