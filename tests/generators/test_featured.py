import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import Featured


@pytest.fixture
def network():
    """Two classes and a channel of edges."""
    torch.manual_seed(0)
    network = Featured(3, ngf=2, n_blocks=1, n_downs=1, classes=2, features=2).eval()
    network.lookup.weight.copy_(torch.tensor([[0.5, -1.0], [0.25, 2.0]])[:, :, None, None])
    return network


def test_features_are_looked_up_for_each_class(network):
    x = torch.zeros(1, 3, 8, 8)
    x[:, 0, :, :4] = x[:, 1, :, 4:] = x[:, 2, 4:] = 1
    features = torch.zeros(1, 2, 8, 8)
    features[0, :, :, :4] = torch.tensor([0.5, 0.25])[:, None, None]
    features[0, :, :, 4:] = torch.tensor([-1.0, 2.0])[:, None, None]
    torch.testing.assert_close(network(x), network.generator(torch.cat([x, features], dim=1)))
    torch.testing.assert_close(network(x), network(x, features))
    assert (network(x) - network(x, torch.zeros(1, 2, 8, 8))).abs().max() > 1e-3


def test_the_table_does_not_learn(network):
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    assert network.lookup.weight.grad is None
    assert network.generator.head.conv.weight.grad is not None


@pytest.mark.parametrize("kwargs", [{"classes": 4}, {"classes": 0}, {"features": 0}, {"generator": "unet"}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        Featured(3, **kwargs)
