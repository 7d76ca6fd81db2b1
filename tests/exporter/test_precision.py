"""Half precision: what is cast and what is not, the emulation, the gate that judges by it, and the choice."""

import numpy as np
import pytest
import torch
from helpers.support import photo_crops, unet_spec, varied_generator

from p2p_deploy.errors import ExportError
from p2p_deploy.exporter import candidates
from p2p_deploy.exporter.emulation import Emulation, Float32Accumulation
from p2p_deploy.exporter.precision import (
    CONVOLUTIONS,
    DTYPES,
    at_precision,
    multiply_accumulates,
    with_instance_statistics,
)
from p2p_deploy.exporter.reference import make_reference
from p2p_deploy.generators import build_generator
from p2p_deploy.generators.frame_model import FrameModel, to_frames

VARIANTS = {
    "unet": {"num_downs": 5},
    "unet, instance": {"num_downs": 5, "norm": "instance"},
    "unet_upsample": {"num_downs": 5},
    "resnet": {"n_blocks": 2},
    "resnet, batch": {"n_blocks": 2, "norm": "batch"},
}


def make(variant, ngf=4):
    torch.manual_seed(0)
    return build_generator(variant.partition(",")[0], {"ngf": ngf, **VARIANTS[variant]}).eval().requires_grad_(False)


def overflowing():
    """A U-Net that gives what the one it is made from gives, through values beyond half; its weights are within."""
    spec = unet_spec()
    generator = varied_generator(spec).requires_grad_(False)
    factor = 2.0**14
    generator.downs[1].norm.weight.mul_(factor)
    generator.downs[1].norm.bias.mul_(factor)
    generator.downs[2].conv.weight.div_(factor)
    width = generator.downs[1].conv.out_channels
    generator.ups[1].conv.weight[:width].div_(factor)  # the skip comes first
    return spec, generator


@pytest.fixture(scope="module")
def varied():
    spec = unet_spec()
    return make_reference(varied_generator(spec).requires_grad_(False), spec, None), spec


class TestAtPrecision:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_convolutions_are_half_and_reductions_are_not(self, variant, precision):
        half = at_precision(make(variant), precision)
        for module in half.modules():
            if isinstance(module, CONVOLUTIONS):
                assert module.weight.dtype == DTYPES[precision]
        seen = []
        for module in half.modules():
            if isinstance(module, torch.nn.InstanceNorm2d):
                module.register_forward_hook(lambda m, x, y: seen.append((x[0].dtype, y.dtype)))
        with torch.no_grad():
            assert half(torch.rand(1, 3, 32, 32).to(DTYPES[precision])).dtype == DTYPES[precision]
        # Seen after the hook that gives half again, and before the one that takes float32 for the norm.
        assert all(given == DTYPES[precision] for _, given in seen)
        assert bool(seen) == ("instance" in variant or variant in ("resnet", "unet_upsample"))

    def test_islands_stay_in_float32_and_their_output_too(self):
        half = at_precision(make("unet"), "fp16", ["downs.1.conv"])
        given = []
        half.downs[1].conv.register_forward_hook(lambda m, x, y: given.append(y.dtype))
        half.downs[2].conv.register_forward_hook(lambda m, x, y: given.append(y.dtype))
        with torch.no_grad():
            half(torch.rand(1, 3, 32, 32).half())
        assert given == [torch.float32, torch.float16]

    def test_an_island_that_is_none_is_refused(self):
        with pytest.raises(ValueError, match=r"no such convolution: downs\.9\.conv"):
            at_precision(make("unet"), "fp16", ["downs.9.conv"])

    def test_the_original_is_left_alone(self):
        generator = make("resnet")
        before = {key: value.clone() for key, value in generator.state_dict().items()}
        at_precision(generator, "bf16")
        assert all(torch.equal(before[key], value) for key, value in generator.state_dict().items())


class TestInstanceStatistics:
    @pytest.mark.parametrize("variant", ["unet", "resnet, batch"])
    def test_equal_training_mode_with_one_picture_and_leave_pictures_apart(self, variant):
        generator = make(variant)
        x = torch.from_numpy(photo_crops(3, 64)).permute(0, 3, 1, 2).float() / 127.5 - 1
        changed = with_instance_statistics(generator)
        training = make(variant)
        for module in training.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.train()
        with torch.no_grad():
            together = changed(x)
            for index in range(3):
                torch.testing.assert_close(together[index], training(x[index : index + 1])[0], atol=1e-4, rtol=1e-3)
            assert (changed(x) - generator(x)).abs().mean() > 0.01


def test_multiply_accumulates_are_those_of_the_definition():
    found = multiply_accumulates(make("unet"), torch.zeros(1, 3, 64, 64))
    assert found["downs.0.conv"] == 3 * 4 * 16 * 32 * 32
    assert found["ups.0.conv"] == 8 * 3 * 16 * 32 * 32  # a transposed one works for each place it takes
    assert len(found) == 10


class TestEmulation:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("precision", ["fp16", "bf16"])
    def test_agrees_with_true_half(self, variant, precision):
        """What sums in another order may round to the next half; nowhere more than a few of its steps."""
        dtype = DTYPES[precision]
        half = at_precision(make(variant), precision)
        x = (torch.from_numpy(photo_crops(2, 32)).permute(0, 3, 1, 2).float() / 127.5 - 1).to(dtype)
        with torch.no_grad():
            true = half(x).float()
            with Float32Accumulation():
                emulated = half(x).float()
        assert true.std() > 0.001
        assert (true - emulated).abs().max() <= 8 * torch.finfo(dtype).eps

    def test_overflows_where_true_half_does(self):
        spec, generator = overflowing()
        half = at_precision(generator, "fp16")
        frames = photo_crops(1, 64)
        emulation = Emulation(FrameModel(half, spec, torch.float16))
        emulation(frames)
        true = {}
        for name, module in half.named_modules():
            if not list(module.children()):
                module.register_forward_hook(
                    lambda m, x, y, name=name: true.update({name: int((~torch.isfinite(y)).sum())})
                )
        with torch.no_grad():
            FrameModel(half, spec, torch.float16)(torch.from_numpy(frames))
        assert emulation.first == "downs.1.conv"
        assert emulation.non_finite == {name: count for name, count in true.items() if count}

    def test_is_not_fooled_where_float32_hides_it(self):
        """The same weights, half but computed in float32, give clean pictures: the trap of CPU runtimes."""
        spec, generator = overflowing()
        frames = photo_crops(2, 64)
        hidden = at_precision(generator, "fp16")
        for module in hidden.modules():
            module._forward_pre_hooks.clear()
        with torch.no_grad():
            clean = FrameModel(generator, spec)(torch.from_numpy(frames)).numpy()
            assert torch.isfinite(FrameModel(hidden.float(), spec).levels(torch.from_numpy(frames))).all()
        emulation = Emulation(FrameModel(at_precision(generator, "fp16"), spec, torch.float16))
        assert np.abs(emulation(frames).astype(int) - clean).max() > 20


class TestChoice:
    def judged(self, generator, spec, choice, min_psnr=40.0):
        return candidates.judge(make_reference(generator, spec, None), choice, min_psnr=min_psnr, bf16=True)

    def test_an_ordinary_network_takes_fp16(self, varied):
        reference, _ = varied
        (candidate,) = candidates.judge(reference, "auto", min_psnr=40, bf16=True)
        assert (candidate.precision, candidate.fp32_layers, candidate.half_share) == ("fp16", (), 1.0)
        assert candidate.quality.non_finite == 0
        assert candidate.quality.psnr_db > 45

    def test_an_overflow_is_refused_with_the_layers_name(self):
        spec, generator = overflowing()
        tried = self.judged(generator, spec, "fp16")
        with pytest.raises(ExportError, match=r"fp16 .*NaN or infinite, first in downs\.1\.conv.*`precision=auto`"):
            candidates.take(tried)

    def test_auto_lands_on_what_passes(self):
        spec, generator = overflowing()
        tried = self.judged(generator, spec, "auto")
        assert tried[0].failure
        taken = candidates.take(tried)
        assert taken.failure is None
        assert {"downs.1.conv", "downs.2.conv", "ups.1.conv"} <= set(tried[1].fp32_layers)
        assert tried[1].quality.non_finite == 0  # the fp32_layers cure it, whether or not they leave enough in half

    def test_too_few_in_half_is_no_half(self):
        spec, generator = overflowing()
        candidate = self.judged(generator, spec, "auto")[1]
        assert candidate.half_share < 0.9
        assert "would be in half" in candidate.failure

    def test_a_bar_that_no_half_reaches_leaves_fp32(self, varied):
        reference, _ = varied
        for bf16, between in ((True, ["bf16"]), (False, [])):
            tried = candidates.judge(reference, "auto", min_psnr=200, bf16=bf16)
            assert [candidate.precision for candidate in tried] == ["fp16", "fp16", *between, "fp32"]
            assert candidates.take(tried).precision == "fp32"

    def test_the_reference_is_the_checkpoints_own(self, varied):
        reference, spec = varied
        with torch.no_grad():
            levels = FrameModel(reference.generator, spec).levels(*map(torch.from_numpy, reference.inputs))
        np.testing.assert_array_equal(reference.outputs, to_frames(levels).numpy())
