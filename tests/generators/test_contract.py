"""What every generator of pictures from pictures must do; a new one is covered by its line in VARIANTS."""

import numpy as np
import pytest
import torch
from helpers.support import photo_crops

from p2p_deploy.backends.onnxruntime import OnnxRuntimeModel
from p2p_deploy.errors import SpecError
from p2p_deploy.exporter.onnx import write_onnx
from p2p_deploy.exporter.precision import fold_batchnorm
from p2p_deploy.generators import GENERATORS, build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.spec import ImageSpec, ModelSpec

VARIANTS = {
    "unet": {"num_downs": 5},
    "unet 7": {"num_downs": 7, "ngf": 2},
    "unet instance": {"num_downs": 5, "norm": "instance"},
    "unet neck": {"num_downs": 5, "neck": "pan"},
    "unet none": {"num_downs": 5, "norm": "none"},
    "unet_upsample": {"num_downs": 5},
    "unet_upsample batch": {"num_downs": 6, "norm": "batch"},
    "resnet": {"n_blocks": 2},
    "resnet batch": {"n_blocks": 2, "norm": "batch"},
    "resnet 4 downs": {"n_blocks": 1, "n_downs": 4},
    "resnet resize": {"n_blocks": 1, "up_by": "resize"},
    "resnet zeros": {"n_blocks": 1, "norm": "none", "padding": "zeros"},
    "local_enhancer": {"n_blocks": 1, "n_downs": 2, "n_local_blocks": 1},
    "local_enhancer two batch": {"n_blocks": 1, "n_downs": 1, "n_local_blocks": 1, "n_enhancers": 2, "norm": "batch"},
    "spade": {"norm": "batch"},
    "featured": {"n_blocks": 1},
    "featured local": {"generator": "local_enhancer", "classes": 1, "features": 2, "n_blocks": 1, "n_downs": 1},
    "styled": {"n_blocks": 1},
    "styled local": {"generator": "local_enhancer", "n_blocks": 1, "n_downs": 1, "n_local_blocks": 1},
}


@pytest.fixture(params=VARIANTS)
def variant(request):
    return request.param


def test_every_generator_is_under_contract():
    drawing = {"mlp"}  # from latent vectors, in test_mlp.py
    assert {variant.split()[0] for variant in VARIANTS} == set(GENERATORS) - drawing


def make(variant, **kwargs):
    torch.manual_seed(0)
    generator = build_generator(variant.split()[0], {"ngf": 4, **VARIANTS[variant], **kwargs})
    for module in generator.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # statistics that folding and exporting must not lose
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                torch.nn.init.uniform_(module.bias, -0.5, 0.5)
    return generator.eval()


def spec_of(variant, generator, size):
    image, arch = ImageSpec.for_channels(3), variant.split()[0]
    return ModelSpec(
        name=variant,
        arch=arch,
        arch_kwargs=VARIANTS[variant],
        inputs=(image,),
        output=image,
        size_multiple=generator.size_multiple,
        min_size=generator.min_size,
        train_size=size,
    )


@pytest.mark.parametrize(("in_channels", "out_channels"), [(3, 3), (1, 3), (3, 1)])
def test_maps_images_to_images_of_the_same_size(variant, in_channels, out_channels):
    generator = make(variant, in_channels=in_channels, out_channels=out_channels)
    side, multiple = generator.min_size, generator.size_multiple
    for height, width in ((side, side), (side + multiple, side)):
        output = generator(torch.rand(2, in_channels, height, width) * 2 - 1)
        assert output.shape == (2, out_channels, height, width)
        assert output.abs().max() <= 1


def test_a_frame_alone_equals_the_frame_in_a_batch(variant):
    generator = make(variant)
    x = torch.rand(3, 3, generator.min_size, generator.min_size) * 2 - 1
    together = generator(x)
    for index in range(3):
        torch.testing.assert_close(generator(x[index : index + 1])[0], together[index], atol=1e-5, rtol=1e-4)


def test_folding_batchnorm_changes_nothing(variant):
    generator = make(variant)
    folded = fold_batchnorm(generator)
    # SPADE's come before the convolutions, and have nothing of their own to fold.
    assert not any(isinstance(module, torch.nn.BatchNorm2d) and module.affine for module in folded.modules())
    x = torch.rand(1, 3, generator.min_size, generator.min_size) * 2 - 1
    torch.testing.assert_close(folded(x), generator(x), atol=1e-5, rtol=1e-4)


def test_a_dynamic_onnx_gives_the_same_pictures_at_every_size_and_batch(variant, tmp_path):
    generator = make(variant)
    side, multiple = generator.min_size, generator.size_multiple
    spec = spec_of(variant, generator, (side + multiple, side + multiple))
    write_onnx(generator, spec, tmp_path / "g.onnx")
    with OnnxRuntimeModel(tmp_path / "g.onnx") as backend:
        sizes = ((side, side), (side, side + 3 * multiple), (side + 2 * multiple, side))
        for batch, (height, width) in enumerate(sizes, start=1):
            frames = np.stack([np.resize(crop, (height, width, 3)) for crop in photo_crops(batch, 64)])
            with torch.inference_mode():
                expected = FrameModel(generator, spec)(torch.from_numpy(frames)).numpy().astype(int)
            assert np.abs(backend(frames).astype(int) - expected).max() <= 1
        for height, width in ((side - multiple, side), (side, side + 1), (0, side)):
            if multiple > 1 or height != side:
                with pytest.raises(ValueError, match=f"multiples of {multiple}"):
                    backend(np.zeros((1, height, width, 3), np.uint8))


def test_unknown_arguments_are_refused_with_a_sentence(variant):
    with pytest.raises(SpecError, match="no_such_argument"):
        build_generator(variant.split()[0], {"no_such_argument": 1})


def test_unknown_architectures_are_refused_with_the_known_ones():
    with pytest.raises(SpecError, match=r"'resnext'.*unet"):
        build_generator("resnext", {})
