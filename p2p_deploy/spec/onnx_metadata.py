"""What an ONNX file says about itself, read without a runtime: in an instant, whatever its size.

An ONNX file is one protobuf message, ModelProto of onnx.proto3. Only two of its fields are read here; the graph with
its weights is stepped over.
"""

from __future__ import annotations

import io
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from p2p_deploy.errors import ModelFileError, P2PError
from p2p_deploy.spec.model import METADATA_KEY, PRECISION_KEY, QUALITY_KEY, ModelSpec

# Field numbers of ModelProto and of StringStringEntryProto.
_PRODUCER_NAME, _GRAPH, _METADATA_PROPS = 2, 7, 14
_KEY, _VALUE = 1, 2
# Wire types of protobuf: a number, and the sizes of those that are skipped.
_VARINT, _LENGTH = 0, 2
_FIXED = {1: 8, 5: 4}
_MAX_TEXT = 1 << 24
# A model has some dozens of fields and an entry two. A file of millions, each of a few bytes, would take minutes.
_MAX_FIELDS, _MAX_ENTRY_FIELDS = 100_000, 100


@dataclass(frozen=True)
class OnnxHeader:
    """What ``p2p export`` wrote about an ONNX file into it.

    Attributes:
        spec: what the network is.
        precision: what it computes in: ``fp32``, ``fp16``, ``bf16`` or None.
        quality: how it compared with its checkpoint, for people to read; empty when it says nothing.
    """

    spec: ModelSpec
    precision: str | None
    quality: dict[str, Any]


def read_onnx(path: Path) -> OnnxHeader:
    """Read what an ONNX file is, without opening it in a runtime.

    Raises:
        ModelFileError: the file is missing, cut short, no ONNX file, or of another program.
        SpecError: its ModelSpec cannot be read.
    """
    try:
        with path.open("rb") as file:
            producer, entries = _read_model(file)
    except OSError as exc:
        raise ModelFileError(f"{path} cannot be read: {exc.strerror or exc}.") from exc
    except ValueError as exc:  # UnicodeDecodeError too
        raise ModelFileError(f"{path} is not an ONNX file, or is damaged: {exc}.") from exc
    if METADATA_KEY not in entries:
        raise ModelFileError(
            f"{path} is an ONNX file of another program (written by {producer or 'an unknown program'}): it has no "
            f"{METADATA_KEY!r} in its metadata, so nothing says which pixels it wants. Export the checkpoint with: "
            "p2p export CKPT"
        )
    try:
        spec = ModelSpec.from_json(entries[METADATA_KEY])
    except P2PError as exc:
        raise type(exc)(f"{path}: {exc}") from exc
    return OnnxHeader(spec, entries.get(PRECISION_KEY), _quality(entries.get(QUALITY_KEY, "{}")))


def _quality(text: str) -> dict[str, Any]:
    try:
        quality = json.loads(text, parse_constant=lambda name: None)  # NaN is no JSON
    except (ValueError, RecursionError):
        return {}
    return quality if isinstance(quality, dict) else {}


def _read_model(file: BinaryIO) -> tuple[str, dict[str, str]]:
    """The producer's name, and the entries of ``metadata_props``; ValueError where that cannot be read."""
    size = os.fstat(file.fileno()).st_size
    producer, entries, has_graph = "", {}, False
    for number, length in _fields(file, size, _MAX_FIELDS):
        if number == _METADATA_PROPS and length <= _MAX_TEXT:
            key, value = _entry(file.read(length))
            entries[key] = value
        elif number == _PRODUCER_NAME and length <= _MAX_TEXT:
            producer = file.read(length).decode()
        else:
            has_graph |= number == _GRAPH
            file.seek(length, os.SEEK_CUR)
    if not has_graph:
        raise ValueError("there is no graph in it")
    return producer, entries


def _fields(file: BinaryIO, size: int, most: int) -> Iterator[tuple[int, int]]:
    """Each field as ``_field`` gives it; whoever takes it reads or skips its content before the next one."""
    for _ in range(most):
        if file.tell() >= size:
            return
        yield _field(file, size)
    if file.tell() < size:
        raise ValueError(f"it has more than {most} fields, expected fewer")


def _field(file: BinaryIO, size: int) -> tuple[int, int]:
    """The number of the next field and how many bytes its content has, which come next."""
    key = _varint(file)
    number, kind = key >> 3, key & 7
    if kind == _VARINT:
        _varint(file)
        return number, 0
    length = _varint(file) if kind == _LENGTH else _FIXED.get(kind)
    if length is None or not number:
        raise ValueError(f"byte {file.tell()} begins no protobuf field")
    if file.tell() + length > size:
        raise ValueError(f"it has {size} bytes and promises {file.tell() + length}")
    return number, length


def _entry(content: bytes) -> tuple[str, str]:
    found = {_KEY: "", _VALUE: ""}
    file = io.BytesIO(content)
    for number, length in _fields(file, len(content), _MAX_ENTRY_FIELDS):
        found[number] = file.read(length).decode()
    return found[_KEY], found[_VALUE]


def _varint(file: BinaryIO) -> int:
    """A number in groups of seven bits, the lowest first."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            raise ValueError("it ends within a field")
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    raise ValueError(f"byte {file.tell()} is within a number that does not end")
