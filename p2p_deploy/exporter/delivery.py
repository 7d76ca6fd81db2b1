"""The folder that artefacts are made in, and how they come from there to their places."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from p2p_deploy.errors import OutputError, P2PError
from p2p_deploy.files import parents_made

_NOTHING = "Nothing was written."


@contextlib.contextmanager
def delivering(output: Path) -> Iterator[Path]:
    """Yield a hidden folder beside ``output``; what is in it when the block ends well is moved beside ``output``.

    Files have their final names in it, and what is raised names their final places.

    Raises:
        OutputError: the folder, or a file in it, cannot be written; and what the block raises.
    """
    with parents_made(output), _work_folder(output) as folder:
        try:
            yield folder
        except P2PError as exc:
            sentence = str(exc).replace(f"{folder}{os.sep}", _prefix(output))
            if isinstance(exc, OutputError) and _NOTHING not in sentence:
                sentence = f"{sentence} {_NOTHING}"
            if sentence == str(exc):
                raise
            raise type(exc)(sentence) from exc
        except OSError as exc:
            raise OutputError(f"{_place(exc, folder, output)} cannot be written: {_reason(exc)}. {_NOTHING}") from exc
        _move(folder, output)


@contextlib.contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name the file in what is raised: a write that fails does not know whose it is."""
    try:
        yield
    except OSError as exc:
        raise OutputError(f"{path} cannot be written: {_reason(exc)}.") from exc


@contextlib.contextmanager
def _work_folder(output: Path) -> Iterator[Path]:
    place = output.parent
    try:
        folder = tempfile.TemporaryDirectory(prefix=".p2p-export-", dir=place, ignore_cleanup_errors=True)
    except OSError as exc:
        raise OutputError(
            f"Nothing can be written into the folder {place}: {_reason(exc)}. Choose another folder."
        ) from exc
    with folder as name:
        yield Path(name)


def _move(folder: Path, output: Path) -> None:
    moved: list[str] = []
    for path in sorted(folder.iterdir()):
        place = output.with_name(path.name)
        try:
            path.replace(place)
        except OSError as exc:
            done = f"{', '.join(moved)} was written before it." if moved else _NOTHING
            raise OutputError(f"{place} cannot be written: {_reason(exc)}. {done}") from exc
        moved.append(path.name)


def _prefix(output: Path) -> str:
    return str(output.with_name("-"))[:-1]


def _place(exc: OSError, folder: Path, output: Path) -> Path:
    """The file that an exception is about, where it will lie."""
    if not exc.filename:
        return output
    path = Path(os.fsdecode(exc.filename))
    return output.with_name(path.name) if path.parent == folder else path


def _reason(exc: OSError) -> str:
    return exc.strerror or str(exc)
