"""What the libraries inside OpenCV say of a damaged file: a line on the stderr of the process, and no error code.

libjpeg makes a picture of whatever is left and complains only there. So stderr, the file descriptor, is led into a
scratch file while images are decoded, and Python's own ``sys.stderr`` past it to where it went before. A line cannot be
traced to the thread that caused it; where one came up, the image is decoded again with no other beside it.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import cv2

_T = TypeVar("_T")

# The rest is harmless, such as a TIFF's unknown tags and "libpng warning: iCCP: known incorrect sRGB profile".
_DAMAGE = re.compile(
    rb"Corrupt JPEG data: (?!bad ICC)[^\n]*|Premature end of JPEG file|Inconsistent progression[^\n]*"
    rb"|TIFF_Error [^\n]*|TIFF_Warning \w+Decode: [^\n]*"
)
# Cameras leave a byte or two between the last row and the end; damage leaves more, or comes up at a restart marker.
_STRAY = re.compile(rb"Corrupt JPEG data: [1-4] extraneous bytes before marker 0x(?!d[0-7])")
_CODEC = re.compile(
    rb"^(?:\[ ?(?:WARN|ERROR|FATAL):\d+@|libpng |Corrupt JPEG|Premature end of JPEG|Inconsistent prog|Invalid SOS"
    rb"|Unknown Adobe|Warning: unknown JFIF|\w+Decode: |TIFF\w+: |tempfile\.tif: |JPEGLib: )"
)
STRAY_BYTES = "stray bytes in the JPEG ignored"
_PASSED_ON = 65536


class _Stderr:
    """The descriptor 2 of this process, and who needs it caught."""

    def __init__(self) -> None:
        self._free = threading.Condition()
        self._holders = 0
        self._decoding = 0
        self._waiting = 0  # threads that want to decode alone, or do
        self._alone = False
        self._scratch = -1
        self._saved: int | None = None
        self._level = 0

    def hold(self) -> None:
        with self._free:
            if not self._holders:
                self._catch()
            self._holders += 1

    def release(self) -> None:
        with self._free:
            self._holders -= 1
            foreign = b"" if self._holders else self._let_go()
        if foreign:
            _pass_on(foreign)

    def decode(self, decoder: Callable[[], _T]) -> tuple[_T, bytes]:
        """Run a decoder beside others; what was printed meanwhile, by whomever."""
        with self._free:
            while self._waiting:
                self._free.wait()
            if not self._holders:
                self._catch()
            self._holders += 1
            self._decoding += 1
        try:
            return self._listen(decoder)
        finally:
            with self._free:
                self._decoding -= 1
                if self._waiting:
                    self._free.notify_all()
                self._holders -= 1
                foreign = b"" if self._holders else self._let_go()
            if foreign:
                _pass_on(foreign)

    def decode_alone(self, decoder: Callable[[], _T]) -> tuple[_T, bytes]:
        """Run a decoder while no other runs; what it printed."""
        with self._free:
            self._waiting += 1
            while self._decoding or self._alone:
                self._free.wait()
            self._alone = True
        try:
            return self._listen(decoder)
        finally:
            with self._free:
                self._waiting -= 1
                self._alone = False
                self._free.notify_all()

    def _listen(self, decoder: Callable[[], _T]) -> tuple[_T, bytes]:
        before = os.lseek(self._scratch, 0, os.SEEK_END)
        result = decoder()
        grown = os.lseek(self._scratch, 0, os.SEEK_END) - before
        if not grown:
            return result, b""
        with self._free:
            return result, _read(self._scratch, before, grown)

    def _catch(self) -> None:
        if self._scratch < 0:
            self._scratch = _scratch_file()
        try:
            self._saved = os.dup(2)
        except OSError:  # closed
            self._saved = None
        os.dup2(self._scratch, 2)
        if self._saved is not None:
            _lead_python(2, self._saved)
        self._level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_WARNING)  # libtiff speaks through OpenCV's log

    def _let_go(self) -> bytes:
        """Put everything back; the lines that no codec wrote."""
        cv2.utils.logging.setLogLevel(self._level)
        if self._saved is None:
            os.close(2)
        else:
            _lead_python(self._saved, 2)
            os.dup2(self._saved, 2)
            os.close(self._saved)
        size = os.fstat(self._scratch).st_size
        if not size or self._saved is None:
            return b""
        lines = _read(self._scratch, max(0, size - _PASSED_ON), _PASSED_ON).splitlines(keepends=True)
        os.ftruncate(self._scratch, 0)
        os.lseek(self._scratch, 0, os.SEEK_SET)
        foreign, ours = [], False
        for line in lines:
            ours = bool(_CODEC.match(line)) or (ours and line[:1] in (b"\n", b">", b" "))  # OpenCV's go on like this
            if not ours:
                foreign.append(line)
        return b"".join(foreign)


def _scratch_file() -> int:
    """A file without a name, in memory where the system has such, so that a full disk is no matter."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("p2p-stderr")
    with tempfile.TemporaryFile("a+b") as file:
        return os.dup(file.fileno())


def _read(descriptor: int, at: int, count: int) -> bytes:
    if hasattr(os, "pread"):
        return os.pread(descriptor, count, at)
    os.lseek(descriptor, at, os.SEEK_SET)  # what is written is appended all the same
    return os.read(descriptor, count)


def _pass_on(lines: bytes) -> None:
    with contextlib.suppress(OSError):
        os.write(2, lines)


def _lead_python(old: int, new: int) -> None:
    """Let Python's stderr write to another descriptor, and with it whoever holds it: loggers, progress bars."""
    stream = sys.__stderr__
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # there is no buffer between under PYTHONUNBUFFERED
    with contextlib.suppress(OSError, ValueError):  # closed
        if stream is not None and isinstance(raw, io.FileIO) and raw.fileno() == old:
            stream.flush()
            io.FileIO.__init__(raw, new, "wb", closefd=False)
            raw.name = "<stderr>"


_stderr = _Stderr()


@contextlib.contextmanager
def caught() -> Iterator[None]:
    """Keep the lines of codecs off stderr, and decoding fast: without it each image leads stderr there and back.

    May be nested and used by several threads. What others print there meanwhile (at most 64 KiB) appears at the end.
    """
    _stderr.hold()
    try:
        yield
    finally:
        _stderr.release()


def listened_to(decoder: Callable[[], _T]) -> tuple[_T, str, bool]:
    """Run a decoder.

    Returns:
        What it returned; what it said of damage, or an empty string; whether it met a few stray bytes, which are none.
    """
    result, said = _stderr.decode(decoder)
    if not said or not _DAMAGE.search(said):
        return result, "", False
    with caught():
        result, said = _stderr.decode_alone(decoder)
    found = [line for line in _DAMAGE.findall(said) if not _STRAY.match(line)]
    sentence = found[0].decode("ascii", "replace")[:120] if found else ""
    return result, sentence, bool(_STRAY.search(said))
