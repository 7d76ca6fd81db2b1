import pytest
import torch
from helpers.label_data import CLASSES, differences, interrupted, make_data, read
from helpers.training import train

from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError
from p2p_deploy.exporter.export import export
from p2p_deploy.generators import Featured, ResNet, Styled
from trainers import Pix2PixHDOptions, pix2pixhd
from trainers.features import FeatureEncoder, StyleEncoder, average


def options(**changes):
    small = {"size": 32, "labels": CLASSES, "ngf": 4, "ndf": 4, "n_downs": 2, "n_blocks": 1, "features": 3}
    return Pix2PixHDOptions(**{**small, "batch": 2, "steps": 4, "device": "cpu", **changes})


@pytest.fixture
def data(tmp_path):
    make_data(tmp_path / "data")
    return tmp_path / "data"


def test_the_network_is_the_published_one():
    """16 wide, four downs, four ups: the 20 keys of the published files."""
    assert len(FeatureEncoder(35, 3, 4).network.state_dict()) == 20


def test_averages_by_hand():
    features = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(1, 1, 2, 2)
    places = torch.tensor([[0, 0], [2, 0]]).view(1, 2, 2, 1)
    averages, counts = average(features, places, 4)
    assert averages[:, 0].tolist() == pytest.approx([11 / 3, 0, 5, 0])
    assert counts.tolist() == [3, 0, 1, 0]


def test_features_are_constant_over_each_instance_of_each_picture():
    torch.manual_seed(0)
    encoder = FeatureEncoder(2, 3, 2)
    instances = torch.zeros(2, 16, 16, 1, dtype=torch.int32)
    instances[:, :, 6:] = -7
    features = encoder(torch.rand(2, 3, 16, 16), instances)
    assert features.shape == (2, 3, 16, 16)
    for picture in range(2):
        left, right = features[picture, :, :, :6], features[picture, :, :, 6:]
        assert torch.equal(left, left[:, :1, :1].expand_as(left))
        assert torch.equal(right, right[:, :1, :1].expand_as(right))
        assert not torch.equal(left[:, 0, 0], right[:, 0, 0])
    assert not torch.equal(features[0], features[1])


def test_the_table_follows_the_averages_of_each_class():
    encoder, lookup = FeatureEncoder(3, 1, 2), Featured(3, ngf=2, features=1).lookup
    labels = torch.tensor([0, 0, 1]).view(1, 1, 3, 1)
    for values in ([1.0, 3.0, 5.0], [3.0, 5.0, 9.0]):
        encoder.note(torch.tensor(values).view(1, 1, 1, 3), labels, lookup)
    encoder.note(torch.tensor([8.0]).view(1, 1, 1, 1), labels[:, :, 2:], lookup)
    assert lookup.weight.flatten().tolist() == pytest.approx([(2 + 4) / 2, (5 + 9 + 8) / 3, 0])


def test_a_step_moves_the_encoder_and_the_checkpoint_has_the_table(data, tmp_path):
    path = train(data, tmp_path / "run", options())
    begun = train(data, tmp_path / "begun", options(steps=1))
    encoders = [read(each)["state"]["system"]["networks"]["E"] for each in (path, begun)]
    assert ".network.head.conv.weight" in differences(*encoders)
    generator = load_checkpoint(path).generator
    assert isinstance(generator.generator, ResNet)
    seen = encoders[0]["batches"] > 0
    assert seen.any()
    assert torch.equal(generator.lookup.weight[:, :, 0, 0].abs().sum(dim=0) > 0, seen)
    report = export(path, tmp_path / "featured.onnx")
    assert report.onnx.exists()


@pytest.mark.parametrize("changes", [{}, {"features": 0, "style": 4}], ids=["features", "style"])
def test_goes_on_to_the_same_bits(data, tmp_path, changes):
    chosen = options(ema=0.9, **changes)
    whole = read(train(data, tmp_path / "whole", chosen))
    parts = read(interrupted(pix2pixhd, data, tmp_path / "parts", chosen, after=2))
    assert differences(whole["generator"], parts["generator"]) == []
    assert differences(whole["state"], parts["state"]) == []


def test_a_local_enhancer_and_no_instances(data, tmp_path):
    chosen = options(generator="local_enhancer", size=64, ngf=2, instances=False, steps=1)
    spec = load_checkpoint(train(data, tmp_path / "run", chosen)).spec
    assert (spec.arch, spec.arch_kwargs["in_channels"], len(spec.inputs)) == ("featured", CLASSES, 1)


@pytest.mark.parametrize("changes", [{"labels": 0}, {"generator": "local_enhancer", "coarse": "ckpt.pt"}])
def test_features_that_nothing_could_encode_are_refused(changes):
    with pytest.raises(DataError, match="features=3 need label maps"):
        options(**changes)


class TestStyle:
    def test_every_instance_counts_alike(self):
        torch.manual_seed(0)
        encoder = StyleEncoder(3, 2)
        pictures, instances = torch.rand(2, 3, 16, 16), torch.zeros(2, 16, 16, 1, dtype=torch.int32)
        instances[0, :, 12:] = 7
        found = encoder.network(pictures)
        styles = encoder(pictures, instances)
        halves = found[0, :, :, :12].mean(dim=(1, 2)), found[0, :, :, 12:].mean(dim=(1, 2))
        torch.testing.assert_close(styles[0], (halves[0] + halves[1]) / 2)
        torch.testing.assert_close(styles[1], found[1].mean(dim=(1, 2)))
        torch.testing.assert_close(encoder(pictures, None), found.mean(dim=(2, 3)))

    def test_what_is_deployed_takes_the_mean_of_all(self):
        encoder, generator = StyleEncoder(2, 2), Styled(3, ngf=2, n_blocks=1, style=2)
        for styles in ([[1.0, 0.0], [3.0, 0.0]], [[5.0, 9.0], [7.0, 9.0]]):
            encoder.note(torch.tensor(styles), generator)
        assert all(norm.average.tolist() == [4.0, 4.5] for norm in generator.norms)

    @pytest.mark.parametrize("changes", [{}, {"instances": False}, {"generator": "local_enhancer", "size": 64}])
    def test_trains_and_is_exported(self, data, tmp_path, changes):
        chosen = options(features=0, style=4, steps=2, **changes)
        path = train(data, tmp_path / "run", chosen)
        begun = train(data, tmp_path / "begun", options(features=0, style=4, steps=1, **changes))
        encoders = [read(each)["state"]["system"]["networks"]["E"] for each in (path, begun)]
        assert ".network.head.conv.weight" in differences(*encoders)
        generator = load_checkpoint(path).generator
        assert isinstance(generator, Styled)
        assert generator.norms[0].average.abs().max() > 0
        assert export(path, tmp_path / "styled.onnx").onnx.exists()

    @pytest.mark.parametrize("changes", [{}, {"generator": "local_enhancer", "coarse": "x.pt", "features": 0}])
    def test_a_style_beside_features_or_a_coarse_network_is_refused(self, changes):
        with pytest.raises(DataError, match="style=4 needs an encoder of its own"):
            options(style=4, **changes)
