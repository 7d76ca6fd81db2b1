import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import UNet


@pytest.mark.parametrize(
    ("num_downs", "norm", "keys", "millions"),
    [(8, "batch", 82, 54.414), (7, "batch", 70, 41.829), (8, "instance", 32, 54.410)],
)
def test_has_the_published_number_of_parameters(num_downs, norm, keys, millions):
    with torch.device("meta"):
        unet = UNet(num_downs=num_downs, norm=norm)
    assert len(unet.state_dict()) == keys
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(millions, abs=5e-4)


def test_dropout_follows_the_num_downs_minus_five_inner_ups():
    for num_downs, count in ((8, 3), (7, 2), (5, 0)):
        with torch.device("meta"):
            unet = UNet(num_downs=num_downs)
        assert sum(isinstance(module, torch.nn.Dropout) for module in unet.modules()) == count
        assert all(isinstance(unet.ups[level].dropout, torch.nn.Dropout) for level in range(4, num_downs - 1))


def test_neither_the_outermost_nor_the_innermost_down_has_a_norm():
    unet = UNet(num_downs=6, ngf=2)
    normed = [isinstance(down.norm, torch.nn.BatchNorm2d) for down in unet.downs]
    assert normed == [False, True, True, True, True, False]


def test_skips_carry_detail_past_the_bottleneck():
    torch.manual_seed(0)
    unet = UNet(num_downs=5, ngf=4).eval()
    x = torch.zeros(1, 3, 32, 32)
    y = x.clone()
    y[0, :, 3, 3] = 1
    changed = (unet(x) - unet(y)).abs().amax(dim=1)[0] > 0
    assert changed[3, 3]


@pytest.mark.parametrize("kwargs", [{"num_downs": 4}, {"num_downs": 13}, {"ngf": 0}, {"norm": "layer"}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        UNet(**kwargs)
