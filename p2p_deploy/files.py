"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from p2p_deploy.errors import Failed, OutputError

_serial = itertools.count()


def temporary_name(path: Path) -> Path:
    """A hidden name beside ``path``: same file system, same suffix, never given twice, short enough for any disk."""
    return path.with_name(f".{path.stem[:40]}.{os.getpid()}-{next(_serial)}.part{path.suffix}")


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


# What the operating system says when the place, and not the data, is at fault.
DISK_ERRORS = frozenset(
    (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT)
)


def write_failure(path: Path, exc: OSError) -> Failed:
    """The Failed that says why ``path`` could not be written: no room, no permission, a disk that went away."""
    hint = {
        errno.ENOSPC: " Free some space",
        errno.EDQUOT: " Free some of your quota",
        errno.EFBIG: " Raise the file-size limit (ulimit -f)",
        errno.EACCES: " Take a folder you may write to",
        errno.EPERM: " Take a folder you may write to",
        errno.EROFS: " Take a folder you may write to",
    }.get(exc.errno or 0, " Mend the disk")
    return Failed(f"{path} cannot be written: {exc.strerror or exc}.{hint} and run again with --overwrite.")


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def refuse_existing(paths: list[Path], overwrite: bool) -> None:
    """Raise OutputError when one of ``paths`` exists and may not be overwritten."""
    existing = [path for path in paths if path.exists()]
    if existing and not overwrite:
        more = f" and {len(existing) - 1} more" if len(existing) > 1 else ""
        raise OutputError(
            f"{existing[0]}{more} exists already. Choose another place, or pass --overwrite to replace it."
        )
