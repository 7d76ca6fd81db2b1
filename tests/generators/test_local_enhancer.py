import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import LocalEnhancer, ResNet


def count(network):
    return len(network.state_dict()), sum(p.numel() for p in network.parameters()) / 1e6


def test_has_the_published_number_of_parameters():
    """Cityscapes: 35 labels and the edges of instances."""
    with torch.device("meta"):
        assert count(ResNet(36, n_downs=4)) == (56, pytest.approx(182.547, abs=5e-4))
        assert count(LocalEnhancer(36)) == (74, pytest.approx(182.857, abs=5e-4))


def test_features_of_the_small_size_are_added_to_those_of_the_large_one():
    torch.manual_seed(0)
    network = LocalEnhancer(ngf=2, n_blocks=1, n_downs=2, n_local_blocks=1).eval()
    x = torch.rand(1, 3, 32, 48) * 2 - 1
    seen = []
    network.enhancers[0].blocks[0].register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    network(x)
    fine = network.enhancers[0].down(network.enhancers[0].head(x))
    coarse = network.coarse(torch.nn.functional.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
    torch.testing.assert_close(seen[0], fine + coarse)


@pytest.mark.parametrize(("n_downs", "n_enhancers", "multiple"), [(2, 1, 8), (1, 2, 8), (3, 1, 16)])
def test_says_which_sizes_it_takes(n_downs, n_enhancers, multiple):
    network = LocalEnhancer(ngf=2, n_blocks=1, n_downs=n_downs, n_local_blocks=1, n_enhancers=n_enhancers).eval()
    assert network.size_multiple == multiple
    side = network.min_size
    assert network(torch.rand(1, 3, side, side + multiple)).shape == (1, 3, side, side + multiple)


@pytest.mark.parametrize("kwargs", [{"n_enhancers": 0}, {"n_local_blocks": -1}, {"ngf": 0}, {"norm": "layer"}])
def test_impossible_networks_are_refused(kwargs):
    with pytest.raises(SpecError):
        LocalEnhancer(**kwargs)
