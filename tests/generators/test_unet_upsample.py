import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import UNet, UNetUpsample


def test_has_the_published_number_of_parameters():
    with torch.device("meta"):
        unet = UNetUpsample()
    assert len(unet.state_dict()) == 17
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(54.404, abs=5e-4)


def test_the_head_leaves_no_checkerboard():
    """On features of one value a transposed convolution alternates; a convolution after nearest neighbours does not."""
    torch.manual_seed(0)
    for head, smooth in ((UNet(num_downs=5, ngf=4).ups[0], False), (UNetUpsample(num_downs=5, ngf=4).head, True)):
        inside = head(torch.ones(1, 8, 8, 8))[..., 4:-4, 4:-4]
        assert bool((inside - inside[..., :1, :1]).abs().max() < 1e-6) == smooth


def test_skips_reach_the_decoder_with_their_negative_part():
    unet = UNetUpsample(num_downs=5, ngf=4).eval()
    seen = []
    unet.ups[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    unet(torch.rand(1, 3, 64, 64) * 2 - 1)
    decoder, skip = seen[0].chunk(2, dim=1)
    assert decoder.min() >= 0
    assert skip.min() < 0


@pytest.mark.parametrize("kwargs", [{"num_downs": 4}, {"num_downs": 13}, {"ngf": 0}, {"norm": "layer"}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        UNetUpsample(**kwargs)
