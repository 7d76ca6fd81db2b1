"""What every generator must do; a new one is covered by its line in GENERATORS."""

import numpy as np
import pytest
import torch
from support import photo_crops

from p2p_deploy.backends.onnxruntime import OnnxRuntimeBackend
from p2p_deploy.errors import SpecError
from p2p_deploy.export.onnx import write_onnx
from p2p_deploy.frame_model import FrameModel, fold_batchnorm
from p2p_deploy.generators import GENERATORS, build_generator
from p2p_deploy.spec import ImageSpec, ModelSpec


@pytest.fixture(params=sorted(GENERATORS))
def arch(request):
    return request.param


def make(arch, **kwargs):
    torch.manual_seed(0)
    generator = build_generator(arch, {"ngf": 4, **kwargs})
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that folding and exporting must not lose
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return generator.eval()


def spec_of(arch, generator, size):
    image = ImageSpec.for_channels(3)
    return ModelSpec(
        arch, arch, {"ngf": 4}, (image,), image, generator.size_multiple, generator.min_size, size, fixed_size=size
    )


@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 3), (1, 3), (3, 1)])
def test_maps_images_to_images_of_the_same_size(arch, in_channels, out_channels):
    generator = make(arch, in_channels=in_channels, out_channels=out_channels)
    side, multiple = generator.min_size, generator.size_multiple
    for height, width in ((side, side), (side + multiple, side)):
        output = generator(torch.rand(2, in_channels, height, width) * 2 - 1)
        assert output.shape == (2, out_channels, height, width)
        assert output.abs().max() <= 1


def test_a_frame_alone_equals_the_frame_in_a_batch(arch):
    generator = make(arch)
    x = torch.rand(3, 3, generator.min_size, generator.min_size) * 2 - 1
    together = generator(x)
    for index in range(3):
        torch.testing.assert_close(generator(x[index : index + 1])[0], together[index], atol=1e-5, rtol=1e-4)


def test_folding_batchnorm_changes_nothing(arch):
    generator = make(arch)
    folded = fold_batchnorm(generator)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())
    x = torch.rand(1, 3, generator.min_size, generator.min_size) * 2 - 1
    torch.testing.assert_close(folded(x), generator(x), atol=1e-5, rtol=1e-4)


def test_onnx_gives_the_same_pictures_at_any_batch(arch, tmp_path):
    generator = make(arch)
    size = (generator.min_size, generator.min_size + generator.size_multiple)
    spec = spec_of(arch, generator, size)
    write_onnx(generator, spec, tmp_path / "g.onnx")
    frames = np.stack([np.resize(crop, (*size, 3)) for crop in photo_crops(5, 64)])
    with torch.inference_mode():
        expected = FrameModel(generator, spec)(torch.from_numpy(frames)).numpy().astype(int)
    with OnnxRuntimeBackend(tmp_path / "g.onnx") as backend:
        for batch in (1, 2, 5):
            assert np.abs(backend(frames[:batch]).astype(int) - expected[:batch]).max() <= 1


def test_unknown_arguments_are_refused_with_a_sentence(arch):
    with pytest.raises(SpecError, match="no_such_argument"):
        build_generator(arch, {"no_such_argument": 1})


def test_unknown_architectures_are_refused_with_the_known_ones():
    with pytest.raises(SpecError, match=r"'resnext'.*unet"):
        build_generator("resnext", {})
