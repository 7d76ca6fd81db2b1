"""Measures of held-out pictures, and the networks behind some of them."""

import numpy as np
import pytest
import torch
from helpers.support import photo_crops, write_images
from helpers.training import train
from torch import nn
from torchmetrics.functional.image import lpips as reference

from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError
from trainers import CGANOptions, CycleGANOptions, GANOptions, Pix2PixOptions
from trainers.inception import Inception, read_inception, resize
from trainers.metrics import LPIPS, LPIPS_LAYERS, Metrics, read_lpips
from trainers.options import TrainingOptions

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def inception(tmp_path_factory):
    """Random weights by the names of the published file, and its classifier."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "inception.pth"
    network = Inception()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):  # so that features are not all but nothing
            nn.init.kaiming_normal_(layer.weight)
    weights = {key: value for key, value in network.state_dict().items() if "num_batches" not in key}
    torch.save({**weights, "fc.weight": torch.zeros(1008, 2048)}, path)
    return path


@pytest.fixture(scope="module")
def vgg16(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vgg16.pth"
    torch.save({**LPIPS().state_dict(), "classifier.0.weight": torch.zeros(2, 2)}, path)
    return path


def pictures(count, size=64, seed=0):
    return torch.from_numpy(photo_crops(count, size, seed=seed)).permute(0, 3, 1, 2).float() / 127.5 - 1


class TestInception:
    def test_has_the_weights_of_the_published_network(self):
        """Those of torchvision's Inception-v3, 27 161 264, without its two classifiers."""
        with torch.device("meta"):
            network = Inception()
        assert sum(weight.numel() for weight in network.parameters()) == 27_161_264 - 3_326_696 - 2_049_000
        layers = {key.split(".")[0] for key in network.state_dict()}
        assert len(layers) == 16
        assert network.Mixed_7c.branch3x3dbl_3b.conv.weight.shape == (384, 384, 3, 1)
        assert network.Mixed_6b.branch7x7dbl_2.conv.weight.shape == (128, 128, 7, 1)

    def test_gives_2048_features_of_pictures_of_any_size(self, inception):
        network = read_inception(inception)
        assert network(pictures(2)).shape == (2, 2048)
        sizes = {}
        for name, layer in network.named_children():
            layer.register_forward_hook(lambda _, __, out, name=name: sizes.update({name: tuple(out.shape[1:])}))
        network(pictures(1, 320))
        assert sizes["Conv2d_4a_3x3"] == (192, 71, 71)
        assert sizes["Mixed_5d"] == (288, 35, 35)
        assert sizes["Mixed_6e"] == (768, 17, 17)
        assert sizes["Mixed_7c"] == (2048, 8, 8)

    def test_pictures_are_resized_from_their_corner(self):
        """TensorFlow 1: the i-th of twice as many pixels is halfway between its neighbours where i is odd."""
        x = torch.tensor([0.0, 4.0, 8.0]).view(1, 1, 1, 3).expand(1, 1, 3, 3)
        assert resize(x, 6)[0, 0, 0].tolist() == [0, 2, 4, 6, 8, 8]

    def test_other_weights_are_refused(self, vgg16):
        with pytest.raises(DataError, match=r"no weights of the Inception-v3 .*: Conv2d_1a_3x3.conv.weight is missing"):
            read_inception(vgg16)


class TestLpips:
    def test_is_that_of_torchmetrics(self, vgg16, monkeypatch):
        """The network around VGG16 is torchmetrics' own; it takes VGG16 itself from torchvision, which is not here."""
        network = read_lpips(vgg16)

        class Backbone(nn.Module):
            def __init__(self, **_):
                super().__init__()

            def forward(self, x):
                seen = []
                for index, layer in enumerate(network.features):
                    x = layer(x)
                    if index in LPIPS_LAYERS:
                        seen.append(x)
                return seen

        monkeypatch.setattr(reference, "Vgg16", Backbone)
        expected = reference._LPIPS(net="vgg", pnet_rand=True, eval_mode=True)
        one, other = pictures(3), pictures(3, seed=1)
        torch.testing.assert_close(network(one, other), expected(one, other).flatten(), atol=1e-5, rtol=1e-4)
        assert network(one, one).abs().max() == 0
        assert network(one, other).min() > 0

    def test_has_the_layers_of_vgg16(self):
        with torch.device("meta"):
            network = LPIPS()
        assert sum(weight.numel() for weight in network.parameters()) == 14_714_688
        assert list(network.state_dict())[-1] == "features.28.bias"


class TestJudges:
    def test_pixels_by_hand(self):
        metrics = Metrics(TrainingOptions(), paired=True, device=CPU)
        one = pictures(4)
        metrics.update(one[:2], one[:2] - 0.02)
        metrics.update(one[2:], one[2:])
        found = metrics.compute()
        inside = float((one[:2].clamp(-1, 1) - (one[:2] - 0.02).clamp(-1, 1)).abs().mean()) / 2 * 127.5
        assert found["l1"] == pytest.approx(inside, rel=1e-4)
        assert 0.9 < found["ssim"] < 1
        assert metrics.best == "l1"
        assert metrics.compute() == {}

    def test_distances_are_small_between_pictures_of_a_kind_and_large_to_others(self, inception, vgg16):
        metrics = Metrics(TrainingOptions(inception=str(inception), lpips=str(vgg16)), paired=True, device=CPU)
        photos = pictures(24)
        found = []
        for others in (photos + 0.01, torch.rand_like(photos) * 2 - 1):
            for part in range(0, 24, 8):
                metrics.update(others[part : part + 8], photos[part : part + 8])
            found.append(metrics.compute())
        near, far = found
        assert set(near) == {"l1", "psnr", "ssim", "lpips", "fid", "kid"}
        for name in ("fid", "kid", "lpips"):
            assert near[name] < 0.2 * far[name]

    def test_grey_pictures_and_too_few(self, inception):
        metrics = Metrics(TrainingOptions(inception=str(inception)), paired=False, device=CPU)
        assert metrics.best == "fid"
        metrics.update(pictures(1)[:, :1], pictures(1, seed=1)[:, :1])
        with pytest.raises(DataError, match="distances between many pictures, and 1 is held out"):
            metrics.compute()

    @pytest.mark.parametrize(("best", "paired"), [("fid", True), ("lpips", True), ("l1", False)])
    def test_a_best_that_is_not_measured_is_refused(self, best, paired):
        with pytest.raises(DataError, match=f"best={best} is not measured here"):
            Metrics(TrainingOptions(best=best), paired=paired, device=CPU)


SMALL = {"size": 32, "ngf": 4, "batch": 2, "steps": 2, "device": "cpu"}


class TestTrainings:
    def test_without_pairs_the_nearest_distribution_is_kept(self, inception, tmp_path):
        frames = photo_crops(6, 40)
        for split in ("train", "test"):
            write_images(tmp_path / f"{split}A", frames)
            write_images(tmp_path / f"{split}B", 255 - frames)
        seen = []
        options = CycleGANOptions(**SMALL, inception=str(inception), n_blocks=1)
        train(tmp_path, tmp_path / "run", options, on_progress=seen.append)
        assert set(seen[-1].measures) == {"fid", "kid"}
        assert load_checkpoint(tmp_path / "run" / "best.pt").training["best"] == seen[-1].measures["fid"]

    def test_of_what_is_drawn(self, inception, tmp_path):
        frames = photo_crops(6, 40, channels=1)
        for split in ("train", "val"):
            for name in ("a", "b"):
                write_images(tmp_path / split / name, frames)
        for kind in (GANOptions, CGANOptions):
            seen = []
            options = kind(**{**SMALL, "size": 16}, inception=str(inception))
            train(tmp_path, tmp_path / kind.__name__, options, on_progress=seen.append)
            assert np.isfinite(seen[-1].measures["fid"])
        (tmp_path / "val" / "a").rename(tmp_path / "val" / "c")
        with pytest.raises(DataError, match="has the classes b, c; expected a, b"):
            train(tmp_path, tmp_path / "other", options)

    def test_best_by_what_is_not_measured_is_refused_before_anything_is_learnt(self, tmp_path):
        frames = photo_crops(4, 40)
        for side in "AB":
            write_images(tmp_path / side / "train", frames)
        before = train(tmp_path, tmp_path / "run", Pix2PixOptions(**SMALL)).read_bytes()
        with pytest.raises(DataError, match="lpips wants --lpips FILE"):
            train(tmp_path, tmp_path / "run", Pix2PixOptions(**SMALL, best="lpips"), overwrite=True)
        assert (tmp_path / "run" / "ckpt.pt").read_bytes() == before
