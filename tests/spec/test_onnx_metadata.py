"""Reading what an ONNX file is without a runtime: sound files, and all kinds of broken ones."""

import random
import sys
import time

import onnx
import pytest
from helpers.networks import write_identity
from helpers.support import invoke, unet_spec, varied_generator

from p2p_deploy.backends import load
from p2p_deploy.errors import DeviceError, ModelFileError, P2PError
from p2p_deploy.exporter.onnx import write_onnx
from p2p_deploy.spec.onnx_metadata import read_onnx


def test_says_what_the_exporter_wrote(exported):
    header = read_onnx(exported.onnx)
    assert header.spec == exported.spec
    assert header.precision == "fp32"
    assert header.quality["max_levels"] == exported.quality.max_levels
    assert read_onnx(exported.plan.onnx).precision == "fp16"


def test_a_file_that_no_runtime_here_can_open_is_described_all_the_same(tmp_path, monkeypatch):
    spec = unet_spec().with_changes(fixed_size=(64, 64))
    write_onnx(varied_generator(spec), spec, tmp_path / "x.onnx", "bf16")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = invoke("info", tmp_path / "x.onnx")
    assert result.returncode == 0
    assert "bf16" in result.stdout
    monkeypatch.undo()
    with pytest.raises(DeviceError, match="no bf16 convolutions on the CPU"):
        load(tmp_path / "x.onnx")


def test_any_order_of_fields_and_kinds_of_numbers_is_read(tmp_path):
    whole = write_identity(tmp_path / "x.onnx").read_bytes()
    unknown = b"\x98\x06\xac\x02" + b"\xa1\x06" + bytes(8) + b"\xad\x06" + bytes(4) + b"\xb2\x06\x03abc"
    (tmp_path / "y.onnx").write_bytes(unknown + whole)
    assert read_onnx(tmp_path / "y.onnx") == read_onnx(tmp_path / "x.onnx")
    onnx.load(tmp_path / "y.onnx")  # protobuf's own reader agrees that these are fields


def test_no_file_that_was_cut_or_changed_breaks_the_reader(tmp_path):
    whole = write_identity(tmp_path / "x.onnx").read_bytes()
    random_numbers = random.Random(0)
    path = tmp_path / "y.onnx"
    refused = 0
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFileError):
            read_onnx(path)
    for _ in range(500):
        changed = bytearray(whole)
        for _ in range(random_numbers.randint(1, 4)):
            changed[random_numbers.randrange(len(changed))] = random_numbers.randrange(256)
        path.write_bytes(changed)
        try:
            read_onnx(path)
        except P2PError:
            refused += 1
    assert refused > 100


def test_a_file_of_more_fields_than_a_model_has_is_refused_at_once(tmp_path):
    unknown = b"\x98\x06\x01"
    sound = write_identity(tmp_path / "x.onnx").read_bytes()
    path = tmp_path / "y.onnx"
    path.write_bytes(unknown * 99_000 + sound)
    assert read_onnx(path) == read_onnx(tmp_path / "x.onnx")
    path.write_bytes(unknown * 1_000_000 + sound)
    entry = b"\x0a\x01a" * 1_000_000
    for content in (unknown * 1_000_000 + sound, sound + b"\x72" + varint(len(entry)) + entry):
        path.write_bytes(content)
        started = time.perf_counter()
        with pytest.raises(ModelFileError, match=r"is damaged: it has more than \d+ fields"):
            read_onnx(path)
        assert time.perf_counter() - started < 1


def varint(value: int) -> bytes:
    groups = []
    while value >= 0x80:
        groups.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*groups, value])


@pytest.mark.parametrize("content", [b"", b"hello there", b"\xff" * 64, b"\x3a\xff\xff\xff\xff\x7f", b"\x0b\x00"])
def test_what_is_no_onnx_is_a_sentence(content, tmp_path):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ModelFileError, match="is not an ONNX file, or is damaged"):
        read_onnx(tmp_path / "x.onnx")
