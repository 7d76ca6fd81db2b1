"""What becomes of images with 16 bits a channel, and of models that take and give values."""

import cv2
import numpy as np
import pytest
from helpers.networks import write_identity
from helpers.support import imwrite, photo_crops, write_images

import p2p_deploy
from p2p_deploy.media.image.files import DEPTH_LOST
from p2p_deploy.options import RunOptions
from p2p_deploy.pixels import to_depth


@pytest.fixture
def model(tmp_path):
    with p2p_deploy.load(write_identity(tmp_path / "values.onnx", io="float32")) as model:
        yield model


def deep_photo() -> np.ndarray:
    """A photograph whose values use all 16 bits."""
    return cv2.GaussianBlur(photo_crops(1, 32)[0].astype(np.uint16) * 257, (5, 5), 0)


def test_float32_models_keep_sixteen_bits(model, tmp_path):
    deep = deep_photo()
    imwrite(tmp_path / "in" / "deep.png", deep)
    imwrite(tmp_path / "in" / "flat.png", photo_crops(1, 32)[0])
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
    assert dict(summary.notes) == {}
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "out" / "deep.png"), cv2.IMREAD_UNCHANGED), deep)
    assert cv2.imread(str(tmp_path / "out" / "flat.png"), cv2.IMREAD_UNCHANGED).dtype == np.uint8
    summary = p2p_deploy.run(model, tmp_path / "in" / "deep.png", tmp_path / "deep.jpg")
    assert dict(summary.notes) == {DEPTH_LOST: 1}


def test_uint8_models_reduce_it_and_say_so(identity, tmp_path):
    deep = deep_photo()
    imwrite(tmp_path / "in" / "deep.png", deep)
    with p2p_deploy.load(identity) as model:
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out")
    assert dict(summary.notes) == {DEPTH_LOST: 1}
    written = cv2.imread(str(tmp_path / "out" / "deep.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(written, to_depth(deep, np.uint8))


def test_a_network_that_breaks_fails_its_picture_alone(model, tmp_path, monkeypatch):
    write_images(tmp_path / "in", photo_crops(3, 32))
    submit = model.submit

    def breaking(slot):
        submit(slot)
        slot.output[1, 0, 5, 5] = np.nan

    monkeypatch.setattr(model, "submit", breaking)
    summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=3))
    assert (summary.done, summary.failed) == (2, 1)
    assert summary.errors[0][0] == "001.png"
    assert "NaN or infinite" in summary.errors[0][1]
    assert not (tmp_path / "out" / "001.png").exists()
