import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import UNet


@pytest.mark.parametrize(("num_downs", "keys", "millions"), [(8, 82, 54.414), (7, 70, 41.829)])
def test_has_the_published_number_of_parameters(num_downs, keys, millions):
    with torch.device("meta"):
        unet = UNet(num_downs=num_downs)
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


def test_with_instance_norm_and_an_upsampling_head_has_the_published_number_of_parameters():
    with torch.device("meta"):
        unet = UNet(norm="instance", head="upsample")
    assert len(unet.state_dict()) == 17
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(54.404, abs=5e-4)


def test_the_upsampling_head_leaves_no_checkerboard():
    """On features of one value a transposed convolution alternates; a convolution after nearest neighbours does not."""
    torch.manual_seed(0)
    for head, smooth in (("transposed", False), ("upsample", True)):
        outermost = UNet(num_downs=5, ngf=4, head=head).ups[0]
        inside = outermost(torch.ones(1, 8, 8, 8))[..., 4:-4, 4:-4]
        assert bool((inside - inside[..., :1, :1]).abs().max() < 1e-6) == smooth


@pytest.mark.parametrize(
    "kwargs", [{"num_downs": 4}, {"num_downs": 13}, {"ngf": 0}, {"norm": "layer"}, {"head": "bare"}]
)
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        UNet(**kwargs)
