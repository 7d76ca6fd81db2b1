import pytest
import torch

from p2p_deploy.errors import SpecError
from p2p_deploy.generators import UNet
from p2p_deploy.generators.pan import PathAggregation


def test_each_scale_gets_what_the_larger_ones_saw():
    torch.manual_seed(0)
    neck = PathAggregation([2, 4, 4], "none")
    features = [torch.rand(1, 2, 8, 8), torch.rand(1, 4, 4, 4), torch.rand(1, 4, 2, 2)]
    found = neck(features)
    assert [each.shape for each in found] == [each.shape for each in features]
    assert found[0] is features[0]
    second = neck.merges[0].conv(features[1] + neck.downs[0].conv(features[0]).relu()).relu()
    torch.testing.assert_close(found[1], second)
    torch.testing.assert_close(found[2], neck.merges[1].conv(features[2] + neck.downs[1].conv(second).relu()).relu())


@pytest.mark.parametrize("norm", ["batch", "instance"])
def test_the_smallest_scale_may_be_a_single_position_of_a_single_picture(norm):
    network = UNet(ngf=2, num_downs=5, norm=norm, neck="pan").train()
    assert network(torch.rand(1, 3, 32, 32)).shape == (1, 3, 32, 32)


def test_without_a_neck_the_network_is_the_published_one():
    with torch.device("meta"):
        plain, aggregated = UNet(), UNet(neck="pan")
    assert sum(weight.numel() for weight in plain.parameters()) == 54_413_955
    assert {key for key in aggregated.state_dict() if not key.startswith("neck.")} == set(plain.state_dict())


def test_another_neck_is_refused():
    with pytest.raises(SpecError, match="neck must be one of none, pan"):
        UNet(neck="fpn")
