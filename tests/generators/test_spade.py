import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import Spade


@pytest.mark.parametrize(("labels", "millions"), [(36, 93.0), (184, 97.5)])
def test_has_the_published_number_of_parameters(labels, millions):
    """Cityscapes and COCO-Stuff, table 5 of the appendix."""
    with torch.device("meta"):
        spade = Spade(labels, norm="batch")
    assert sum(p.numel() for p in spade.parameters()) / 1e6 == pytest.approx(millions, abs=0.05)


def test_flat_labels_give_a_flat_middle_and_each_label_its_own():
    """What SPADE is for: a norm alone would wash a label map of one class out to nothing."""
    torch.manual_seed(0)
    spade = Spade(2, ngf=4, norm="batch").eval()
    colours = []
    for label in range(2):
        one_hot = torch.zeros(1, 2, 64, 64)
        one_hot[:, label] = 1
        colours.append(spade(one_hot)[0, :, 32, 32])
    assert (colours[0] - colours[1]).abs().max() > 1e-3


@pytest.mark.parametrize(("upsampling", "doublings", "blocks"), [("normal", 5, 7), ("more", 6, 7), ("most", 7, 8)])
@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_says_which_sizes_it_takes(upsampling, doublings, blocks, norm):
    spade = Spade(3, ngf=2, upsampling=upsampling, norm=norm).eval()
    assert len(spade.blocks) == blocks
    assert (spade.size_multiple, spade.min_size) == (2**doublings, 2 * 2**doublings)
    side = spade.min_size
    assert spade(torch.rand(1, 3, side, side + 2**doublings)).shape == (1, 3, side, side + 2**doublings)


def test_a_latent_vector_decides_the_style_and_the_size():
    torch.manual_seed(0)
    spade = Spade(3, ngf=4, norm="batch", z_dim=8, base_size=(2, 3)).eval()
    assert spade.fixed_size == (64, 96)
    labels = torch.rand(2, 3, 64, 96)
    before = spade(labels)
    assert before.shape == (2, 3, 64, 96)
    spade.z.normal_()
    assert (spade(labels) - before).abs().max() > 1e-3


@pytest.mark.parametrize(
    "kwargs",
    [{"upsampling": "least"}, {"norm": "layer"}, {"kernel": 2}, {"ngf": 1}, {"z_dim": 8}, {"base_size": (2, 2)}],
)
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        Spade(**kwargs)
