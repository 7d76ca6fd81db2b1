"""What reading and writing video have in common: how PyAV opens a file, and what it raises."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av

from p2p_deploy.media.containers import READERS

# Most of PyAV's exceptions are OSErrors or ValueErrors too, but not all. Tags that are no UTF-8 are ValueErrors.
FFMPEG_ERRORS = (av.error.FFmpegError, OSError, ValueError)


def open_input(path: Path, **options: str) -> Any:
    """Open a video for reading; ``options`` go to the container and to the decoders that look at its first frames.

    Raises:
        FFMPEG_ERRORS: it cannot be opened.
    """
    options |= {"protocol_whitelist": "file", "format_whitelist": READERS}
    return av.open(address(path), options=options, metadata_errors="replace")


def address(path: Path) -> str:
    """How FFmpeg is told a path, whatever its name looks like: ``http:``, ``pipe:`` or ``-``."""
    return f"file:{path}"


def reason(exc: Exception) -> str:
    """FFmpeg's own words for what went wrong, one line."""
    return getattr(exc, "strerror", None) or str(exc).partition("\n")[0] or type(exc).__name__
