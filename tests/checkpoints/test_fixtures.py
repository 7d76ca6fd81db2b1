"""Files as people own them, against the answers of the programs they come from."""

import json

import numpy as np
import pytest
import torch
from helpers.support import ROOT, photo_crops, write_images

import p2p_deploy
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.exporter.export import export
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.options import ExportOptions

FIXTURES = ROOT / "tests" / "fixtures" / "checkpoints"
FAMILIES = {
    "cyclegan_pix2pix_unet256": "the U-Net of pytorch-CycleGAN-and-pix2pix",
    "cyclegan_pix2pix_resnet6": "the ResNet of pytorch-CycleGAN-and-pix2pix",
    "pix2pixHD_global": "the global generator of pix2pixHD",
    "pytorch_gan_pix2pix": "the U-Net of PyTorch-GAN's pix2pix",
    "pytorch_gan_cyclegan": "the ResNet of PyTorch-GAN's CycleGAN",
}


def seeded(recipe: dict) -> dict:
    """The weights that a recipe stands for: drawn in order from one generator, see the fixtures' description."""
    generator = torch.Generator().manual_seed(recipe["seed"])
    weights = {}
    for key, (shape, dtype) in recipe["shapes"].items():
        assert dtype == "float32"
        value = torch.randn(shape, generator=generator) * 0.02
        if key.endswith("running_var") or (key.endswith("weight") and len(shape) == 1):
            value = value + 1
        weights[key] = value
    return weights


@pytest.fixture(scope="module", params=FAMILIES)
def owned(request, tmp_path_factory):
    """Folder of a fixture, and the checkpoint in it."""
    folder = FIXTURES / request.param
    if not (folder / "seeded.json").exists():
        return folder, next(folder.glob("*.pth"))
    recipe = json.loads((folder / "seeded.json").read_text())
    path = tmp_path_factory.mktemp("seeded") / recipe["file"]
    torch.save(seeded(recipe), path)
    return folder, path


def test_gives_the_originals_answers_without_a_flag(owned, tmp_path):
    folder, path = owned
    frames, expected = np.load(folder / "input_uint8_nhwc.npy"), np.load(folder / "expected_eval.npy")
    assert expected.std() > 0.1  # else anything would be near it
    size = frames.shape[1:3]
    write_images(tmp_path / "check", photo_crops(1, 256))
    report = export(path, tmp_path / "x.onnx", ExportOptions(io="float32", sizes=(size,), check=tmp_path / "check"))
    assert report.family == FAMILIES[folder.name]
    values = np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / np.float32(127.5) - 1, np.float32)
    with p2p_deploy.load(report.onnx) as model:
        assert np.abs(model(values) - expected).max() <= 1e-3
    checkpoint = load_checkpoint(path)
    levels = (expected.transpose(0, 2, 3, 1) + 1) * 127.5
    with torch.inference_mode():
        outputs = FrameModel(checkpoint.generator, checkpoint.spec)(torch.from_numpy(frames)).numpy()
    assert np.abs(outputs - levels).max() <= 1


def test_with_the_images_own_statistics_too(tmp_path):
    folder = FIXTURES / "cyclegan_pix2pix_unet256"
    frames, expected = np.load(folder / "input_uint8_nhwc.npy"), np.load(folder / "expected_batch_stats.npy")
    assert np.abs(expected - np.load(folder / "expected_eval.npy")).mean() > 0.1  # the two are different pictures
    options = ExportOptions(io="float32", norm_stats="instance")
    report = export(folder / "latest_net_G.pth", tmp_path / "x.onnx", options)
    assert any("`norm_stats=running` gives visibly different pictures" in warning for warning in report.warnings)
    values = np.ascontiguousarray(frames.transpose(0, 3, 1, 2) / np.float32(127.5) - 1, np.float32)
    with p2p_deploy.load(report.onnx) as model:
        assert np.abs(model(values) - expected).max() <= 1e-3
