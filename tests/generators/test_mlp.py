import numpy as np
import pytest
import torch
from helpers.support import drawing_generator, latent_spec

from p2p_deploy import latents
from p2p_deploy.backends.onnxruntime import OnnxRuntimeModel
from p2p_deploy.errors import SpecError
from p2p_deploy.exporter import candidates
from p2p_deploy.exporter.emulation import Emulation
from p2p_deploy.exporter.onnx import write_onnx
from p2p_deploy.exporter.precision import at_precision, multiply_accumulates
from p2p_deploy.exporter.reference import make_reference
from p2p_deploy.exporter.tensorrt.builder import build_plan
from p2p_deploy.exporter.tensorrt.flavours import find_flavour
from p2p_deploy.generators import MLP, build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.options.export import BuildOptions
from p2p_deploy.spec.sidecar import Profile


def test_has_the_published_layers():
    """100-256-512-784."""
    weights = [layer.weight.shape for layer in MLP().layers if isinstance(layer, torch.nn.Linear)]
    assert weights == [(256, 100), (512, 256), (784, 512)]
    kinds = [type(layer).__name__ for layer in MLP().layers]
    assert kinds == ["Linear", "ReLU", "Linear", "ReLU", "Linear", "Tanh"]


@pytest.mark.parametrize(("kwargs", "width"), [({}, 100), ({"classes": 10}, 110), ({"z_dim": 3, "out_channels": 3}, 3)])
def test_draws_pictures(kwargs, width):
    network = MLP(size=14, **kwargs)
    pictures = network(torch.randn(4, width))
    assert pictures.shape == (4, kwargs.get("out_channels", 1), 14, 14)
    assert pictures.abs().max() <= 1
    assert (network.fixed_size, network.min_size, network.size_multiple) == ((14, 14), 14, 14)


def test_a_picture_alone_equals_the_picture_in_a_batch():
    network = drawing_generator(latent_spec(classes=3))
    x = torch.randn(3, 8 + 3)
    for index in range(3):
        torch.testing.assert_close(network(x[index : index + 1])[0], network(x)[index], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    "kwargs",
    [
        {"z_dim": 0},
        {"size": 0},
        {"size": 513},
        {"ngf": 0},
        {"classes": -1},
        {"embedding": 0},
        {"hidden": 3},
        {"size": "a"},
    ],
)
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        build_generator("mlp", kwargs)


@pytest.mark.parametrize("classes", [0, 4])
@pytest.mark.parametrize("io", ["uint8", "float32"])
def test_an_onnx_gives_the_same_pictures_for_every_batch(tmp_path, classes, io):
    spec = latent_spec(classes=classes).with_io(io)
    generator = drawing_generator(spec)
    write_onnx(generator, spec, tmp_path / "g.onnx")
    inputs = next(latents.draw(spec, 0, 7))
    with torch.inference_mode():
        expected = FrameModel(generator, spec)(*map(torch.from_numpy, inputs)).numpy().astype(float)
    with OnnxRuntimeModel(tmp_path / "g.onnx") as backend:
        for batch in (1, 2, 7):
            got = backend(*(array[:batch] for array in inputs))
            assert got.shape == (batch, *spec.output.shape(12, 12))
            assert np.abs(got.astype(float) - expected[:batch]).max() <= (1 if io == "uint8" else 1e-4)


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_half_is_half_in_every_layer_and_its_emulation_agrees(precision):
    spec = latent_spec(classes=4)
    generator = drawing_generator(spec)
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    half = at_precision(generator, precision)
    assert {weight.dtype for weight in half.parameters()} == {dtype}
    inputs = next(latents.draw(spec, 0, 8))
    model = FrameModel(half, spec, dtype)
    with torch.no_grad():
        true = model(*map(torch.from_numpy, inputs)).numpy()
    emulation = Emulation(model)
    assert np.abs(emulation(*inputs).astype(int) - true).max() <= (1 if precision == "fp16" else 4)
    assert not emulation.non_finite


def test_overflow_is_noticed_and_cured_by_islands():
    spec = latent_spec()
    generator = drawing_generator(spec)
    with torch.no_grad():  # the same pictures, through values beyond half
        generator.layers[0].weight.mul_(2.0**16)
        generator.layers[0].bias.mul_(2.0**16)
        generator.layers[2].weight.div_(2.0**16)
    tried = candidates.judge(make_reference(generator, spec, None), "auto", min_psnr=40, bf16=False)
    assert "NaN or infinite, first in layers.0" in tried[0].failure
    assert {"layers.0", "layers.2"} <= set(tried[1].fp32_layers)
    assert tried[1].quality.non_finite == 0


def test_multiply_accumulates_are_those_of_the_definition():
    found = multiply_accumulates(drawing_generator(latent_spec(classes=4)), torch.zeros(2, 12))
    assert found == {
        "embed": 2 * 4 * 32,
        "layers.0": 2 * 40 * 16,
        "layers.2": 2 * 16 * 32,
        "layers.4": 2 * 32 * 144,
    }


@pytest.mark.parametrize(("classes", "precision"), [(0, "fp32"), (0, "fp16"), (4, "fp16")])
def test_a_plan_is_built_and_says_how_much_of_it_is_half(tmp_path, classes, precision):
    spec = latent_spec(classes=classes)
    generator = drawing_generator(spec)
    write_onnx(generator, spec, tmp_path / "g.onnx", precision)
    profile = Profile((1, 3, 4), (12, 12, 12), (12, 12, 12))
    built = build_plan(tmp_path / "g.onnx", tmp_path / "g.plan", BuildOptions(profiles=(profile,)), find_flavour("rtx"))
    assert built.profiles == (profile,)
    report = built.precision
    assert report.macs == sum(multiply_accumulates(generator, torch.zeros(3, 8 + classes)).values())
    assert report.half_share == (precision == "fp16")
    assert report.convolutions == 3 + bool(classes)
