import pickle

import pytest
import torch
from helpers.label_data import tiny_vgg

from p2p_deploy.errors import CheckpointError, DataError
from trainers.vgg import DEVIATION, WEIGHTS, Perceptual, read_vgg


def test_has_the_layers_of_vgg19():
    """20 024 384 weights in its sixteen convolutions, of which the last three are not looked at."""
    with torch.device("meta"):
        network = Perceptual()
    assert sum(weight.numel() for weight in network.parameters()) == 20_024_384 - 3 * (512 * 512 * 9 + 512)
    convs = {int(key.split(".")[1]) for key in network.state_dict()}
    assert convs == {0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28}


def test_five_layers_are_looked_at_each_half_as_large_and_they_weigh_as_published():
    seen = Perceptual(width=2).see(torch.zeros(1, 3, 32, 48))
    assert [tuple(layer.shape[1:]) for layer in seen] == [
        (2, 32, 48),
        (4, 16, 24),
        (8, 8, 12),
        (16, 4, 6),
        (16, 2, 3),
    ]
    assert list(WEIGHTS.values()) == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1]


def test_the_loss_by_hand():
    """Every convolution hands red on in its first channel, so each layer of C channels differs by the same, over C."""
    network = Perceptual(width=2)
    for weight in network.parameters():
        weight.zero_()
        if weight.ndim == 4:
            weight[0, 0, 1, 1] = 1
    fake, real = torch.full((1, 3, 16, 16), 0.5), torch.full((1, 3, 16, 16), 0.9)
    apart = 0.4 / 2 / DEVIATION[0]
    expected = apart * (1 / 32 / 2 + 1 / 16 / 4 + 1 / 8 / 8 + 1 / 4 / 16 + 1 / 16)
    assert network(fake, real).item() == pytest.approx(expected, rel=1e-5)
    assert network(real, real) == 0


def test_only_the_generated_picture_learns(tmp_path):
    network = read_vgg(tiny_vgg(tmp_path / "vgg.pth"))
    fake, real = (torch.rand(2, 3, 16, 16).requires_grad_() for _ in range(2))
    network(fake, real).backward()
    assert fake.grad.abs().sum() > 0
    assert real.grad is None
    assert all(weight.grad is None for weight in network.parameters())


def test_half_precision_is_compared_in_float32(tmp_path):
    network = read_vgg(tiny_vgg(tmp_path / "vgg.pth"))
    with torch.autocast("cpu", torch.bfloat16):
        loss = network(torch.zeros(1, 3, 16, 16), torch.ones(1, 3, 16, 16))
    assert loss.dtype == torch.float32


def test_the_weights_of_the_file_are_taken(tmp_path):
    path = tiny_vgg(tmp_path / "vgg.pth")
    weights = torch.load(path, weights_only=True)
    assert torch.equal(read_vgg(path).features[28].weight, weights["features.28.weight"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: weights.pop("features.16.weight"), "features.16.weight is missing"),
        (
            lambda weights: weights.update({"features.5.weight": torch.zeros(9, 9)}),
            r"features.5.weight has the shape \(9, 9\) instead of \(4, 2",
        ),
        (lambda weights: weights.clear(), "features.0.weight is missing"),
        (lambda weights: weights.update({"features.0.weight": "no tensor"}), "features.0.weight is missing"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, words):
    path = tiny_vgg(tmp_path / "vgg.pth")
    weights = torch.load(path, weights_only=True)
    change(weights)
    torch.save(weights, path)
    with pytest.raises(DataError, match=rf"vgg\.pth holds no weights of torchvision's VGG19: {words}"):
        read_vgg(path)


def test_a_file_that_could_run_code_is_refused(tmp_path):
    (tmp_path / "vgg.pth").write_bytes(pickle.dumps(tmp_path))
    with pytest.raises(CheckpointError, match="nothing was executed"):
        read_vgg(tmp_path / "vgg.pth")
    with pytest.raises(CheckpointError, match="does not exist"):
        read_vgg(tmp_path / "none.pth")
