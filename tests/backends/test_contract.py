"""What every runtime must do with slots and frames; a new one is covered by a line in ``MODELS``."""

import numpy as np
import onnxruntime
import pytest
import torch
from helpers.support import photo_crops, unet_spec

import p2p_deploy
from p2p_deploy.backends import BACKENDS, load
from p2p_deploy.errors import DeviceError, Failed, ModelFileError
from p2p_deploy.options import LoadOptions

SIZE = 64
MODELS = {"onnxruntime": ".onnx", "torch": ".pt"}


@pytest.fixture(params=MODELS)
def model(request, checkpoint, exported):
    with load({".onnx": exported.onnx, ".pt": checkpoint}[MODELS[request.param]]) as model:
        assert model.name == request.param
        yield model


@pytest.fixture(scope="module")
def expected(checkpoint):
    """What PyTorch answers to the photographs."""
    with load(checkpoint) as model:
        return model(photo_crops(7, SIZE)).astype(int)


def test_every_backend_is_under_contract():
    executing = {module for module, _ in BACKENDS.values()} - {
        "tensorrt"
    }  # under the same contract in test_tensorrt_run.py
    assert executing == set(MODELS)


def test_gives_the_checkpoints_pictures_at_every_batch_size(model, expected):
    frames = photo_crops(7, SIZE)
    assert expected.std() > 20  # else the comparison would say nothing
    for batch in (1, 3, 7, 2):
        assert np.abs(model(frames[:batch]).astype(int) - expected[:batch]).max() <= 1


def test_slots_in_a_ring_keep_their_own_outputs(model, expected):
    frames = photo_crops(7, SIZE)
    slots = model.slots(3, 2)
    for slot, first in zip(slots, (0, 2, 4), strict=True):
        slot.input[:2] = frames[first : first + 2]
        slot.count = 2
        model.submit(slot)
    for slot, first in zip(slots, (0, 2, 4), strict=True):
        model.wait(slot)
        assert np.abs(slot.output.astype(int) - expected[first : first + 2]).max() <= 1


def test_writes_into_the_memory_of_the_slot_and_only_its_rows(model):
    (slot,) = model.slots(1, 4)
    address = slot.output.ctypes.data
    slot.output[...] = 77
    slot.input[:2] = photo_crops(2, SIZE)
    slot.count = 2
    model.submit(slot)
    model.wait(slot)
    assert slot.output.ctypes.data == address
    assert (slot.output[2:] == 77).all()
    assert (slot.output[:2] != 77).any()


def test_compacting_closes_the_gaps():
    from p2p_deploy.backends import Slot

    slot = Slot(4, (1, 1), unet_spec(in_channels=1))
    slot.input[:, 0, 0, 0] = (10, 11, 12, 13)
    slot.compact([1, 3])
    assert slot.count == 2
    assert slot.input[:2, 0, 0, 0].tolist() == [11, 13]


@pytest.mark.parametrize(
    "frames",
    [
        np.zeros((1, SIZE, SIZE, 3), np.float32),
        np.zeros((SIZE, SIZE, 3), np.uint8),
        np.zeros((1, 33, SIZE, 3), np.uint8),
        np.zeros((1, SIZE, SIZE, 1), np.uint8),
        np.zeros((0, SIZE, SIZE, 3), np.uint8),
    ],
)
def test_wrong_frames_are_refused_with_what_was_expected(model, frames):
    with pytest.raises(ValueError, match=r"expected uint8 frames of shape|multiples of 32"):
        model(frames)


def test_a_batch_that_no_memory_can_hold_is_refused(model):
    with pytest.raises(Failed, match="smaller `batch`"):
        model.slots(1, 10**15)


def test_a_closed_model_says_so(model):
    model.close()
    with pytest.raises(ValueError, match="is closed"):
        model(photo_crops(1, SIZE))


def test_says_what_a_measurement_needs(model):
    assert all(isinstance(value, str) and value for value in model.versions().values())


def test_a_gpu_that_is_not_there_is_an_error_and_no_fallback(model, checkpoint, exported, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    path = exported.onnx if model.name == "onnxruntime" else checkpoint
    with pytest.raises(DeviceError, match=r"cuda:0 was asked for.*`device=cpu`"):
        load(path, LoadOptions(device="cuda:0"))


def test_load_is_public_and_names_what_it_expects(tmp_path):
    with pytest.raises(ModelFileError, match=r"\.onnx, \.pt"):
        p2p_deploy.load(tmp_path / "model.caffemodel")
    with pytest.raises(ModelFileError, match="does not exist"):
        p2p_deploy.load(tmp_path / "model.onnx")
    with pytest.raises(DeviceError, match="expected auto, cpu or cuda:N"):
        p2p_deploy.load(tmp_path / "model.onnx", LoadOptions(device="tpu"))


@pytest.mark.gpu
@pytest.mark.parametrize("suffix", [".onnx", ".pt"])
def test_a_gpu_gives_the_same_pictures(suffix, checkpoint, exported, expected):
    try:
        model = load({".onnx": exported.onnx, ".pt": checkpoint}[suffix], LoadOptions(device="cuda:0"))
    except DeviceError as exc:
        pytest.skip(str(exc))
    with model:
        assert np.abs(model(photo_crops(7, SIZE)).astype(int) - expected).max() <= 2
