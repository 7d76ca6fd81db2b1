import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import Styled
from p2p_deploy.generators.styled import AdaIN


@pytest.fixture
def network():
    torch.manual_seed(0)
    return Styled(3, ngf=2, n_blocks=2, n_downs=1, style=4).eval()


def test_mean_and_deviation_are_those_that_the_style_says():
    """Huang, Belongie, equation 8."""
    torch.manual_seed(0)
    norm = AdaIN(3, 2)
    norm.given = torch.tensor([[1.0, -2.0], [0.5, 0.0]])
    found = norm(torch.rand(2, 3, 16, 16))
    scale, shift = norm.affine(norm.given).chunk(2, dim=1)
    torch.testing.assert_close(found.mean(dim=(2, 3)), shift, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.std(dim=(2, 3), correction=0), (1 + scale).abs(), atol=1e-3, rtol=1e-3)


def test_residual_blocks_follow_the_style_and_each_picture_its_own(network):
    assert len(network.norms) == 4
    x = torch.rand(1, 3, 8, 8).expand(2, -1, -1, -1)
    styles = torch.randn(2, 4)
    both = network(x, styles)
    assert (both[0] - both[1]).abs().max() > 1e-3
    torch.testing.assert_close(both[:1], network(x[:1], styles[:1]))


def test_without_a_style_the_average_is_taken(network):
    x, style = torch.rand(1, 3, 8, 8), torch.randn(4)
    before = network(x)
    network.set_average(style)
    torch.testing.assert_close(network(x), network(x, style[None]))
    assert (network(x) - before).abs().max() > 1e-3
    again = Styled(3, ngf=2, n_blocks=2, n_downs=1, style=4).eval()
    again.load_state_dict(network.state_dict())
    assert torch.equal(again(x), network(x))


@pytest.mark.parametrize("kwargs", [{"style": 0}, {"style": 2000}, {"generator": "unet"}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        Styled(3, **kwargs)
