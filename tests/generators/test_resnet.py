import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import ResNet


@pytest.mark.parametrize(
    ("kwargs", "keys", "millions"),
    [({}, 48, 11.378), ({"norm": "batch"}, 140, 11.383), ({"n_blocks": 6}, 36, 7.838)],
)
def test_has_the_published_number_of_parameters(kwargs, keys, millions):
    with torch.device("meta"):
        resnet = ResNet(**kwargs)
    assert len(resnet.state_dict()) == keys
    assert sum(p.numel() for p in resnet.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_borders_are_reflected():
    """A picture of one colour stays one: padding with zeros would frame it."""
    torch.manual_seed(0)
    resnet = ResNet(ngf=4, n_blocks=2, norm="batch", n_downs=0).eval()
    output = resnet(torch.full((1, 3, 16, 16), 0.5))
    assert (output - output[..., :1, :1]).abs().max() < 1e-6


def test_blocks_add_to_what_they_take():
    resnet = ResNet(ngf=4, n_blocks=1).eval()
    torch.nn.init.zeros_(resnet.blocks[0].second.conv.weight)
    torch.nn.init.zeros_(resnet.blocks[0].second.conv.bias)
    x = torch.rand(1, 16, 8, 8)
    torch.testing.assert_close(resnet.blocks[0](x), x)


@pytest.mark.parametrize(("n_downs", "min_size", "multiple"), [(0, 8, 1), (2, 8, 4), (4, 32, 16)])
def test_says_which_sizes_it_takes(n_downs, min_size, multiple):
    resnet = ResNet(ngf=2, n_blocks=1, n_downs=n_downs).eval()
    assert (resnet.min_size, resnet.size_multiple) == (min_size, multiple)
    assert resnet(torch.rand(1, 3, min_size, min_size + multiple)).shape == (1, 3, min_size, min_size + multiple)


@pytest.mark.parametrize(
    "kwargs", [{"n_blocks": -1}, {"n_blocks": 1000}, {"n_downs": 9}, {"ngf": 0}, {"norm": "layer"}]
)
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        ResNet(**kwargs)
