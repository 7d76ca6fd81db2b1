import itertools

import numpy as np
import pytest
import torch
from helpers.label_data import make_data, write_map
from helpers.support import photo_crops, write_images

from p2p_deploy.errors import DataError
from p2p_deploy.generators.frame_model import FrameModel
from trainers import Pix2PixHDOptions, pix2pixhd
from trainers.labelled import Labelled, find_held_out, find_labelled, inputs_of, to_colours


def spec_of(**changes):
    settings = {"size": 32, "labels": 5, "ngf": 2, "n_downs": 1, "n_blocks": 1, **changes}
    return pix2pixhd.make_spec(Pix2PixHDOptions(**settings))


def exact_data(root, count=4):
    """Files of 36 x 36, which is what is cropped to 32 x 32: nothing is resized, and pictures are 50 x the label."""
    numbers = np.random.default_rng(0).integers(0, 5, (count, 36, 36))
    write_images(root / "train_img", np.repeat(numbers[..., None] * 50, 3, axis=3).astype(np.uint8))
    for index, labels in enumerate(numbers):
        write_map(root / "train_label" / f"{index:03d}.png", labels)
        write_map(root / "train_inst" / f"{index:03d}.png", labels * 1000 + 7)


def test_maps_and_pictures_are_cropped_and_flipped_alike(tmp_path):
    exact_data(tmp_path)
    spec = spec_of()
    items = Labelled(find_labelled(tmp_path, spec), spec, seed=0)
    for epoch, index in itertools.product(range(4), range(4)):
        labels, instances, picture = items[epoch, index]
        assert labels.dtype == instances.dtype == torch.int32
        assert labels.shape == instances.shape == (32, 32, 1)
        assert torch.equal(instances, labels * 1000 + 7)
        levels = ((picture + 1) * 127.5).round().int()
        assert torch.equal(levels, (labels * 50).permute(2, 0, 1).expand(3, -1, -1))


def test_labels_are_resized_without_inventing_any(tmp_path):
    numbers = np.zeros((50, 70), int)
    numbers[10:, 20:] = 4
    write_map(tmp_path / "train_label" / "a.png", numbers)
    write_images(tmp_path / "train_img", photo_crops(1, 48))
    (tmp_path / "train_img" / "000.png").rename(tmp_path / "train_img" / "a.png")
    spec = spec_of(instances=False, size=32, width=64)
    for augment in (True, False):
        labels, picture = Labelled(find_labelled(tmp_path, spec), spec, 0, augment=augment)[0, 0]
        assert labels.shape == (32, 64, 1)
        assert picture.shape == (3, 32, 64)
        assert set(labels.unique().tolist()) == {0, 4}


def test_what_happens_depends_on_seed_epoch_and_index_only(tmp_path):
    make_data(tmp_path, 2)
    spec = spec_of()
    items = Labelled(find_labelled(tmp_path, spec), spec, seed=0)
    first = items[1, 1]
    torch.manual_seed(99)
    assert all(torch.equal(one, other) for one, other in zip(items[1, 1], first, strict=True))
    assert not torch.equal(items[2, 1][-1], first[-1])
    assert not torch.equal(Labelled(items.files, spec, seed=1)[1, 1][-1], first[-1])


def test_the_network_gets_one_hot_labels_and_edges_as_when_it_is_deployed(tmp_path):
    make_data(tmp_path, 1)
    spec = spec_of()
    labels, instances, _ = Labelled(find_labelled(tmp_path, spec), spec, seed=0, augment=False)[0, 0]
    given = FrameModel(torch.nn.Identity(), spec).values(labels[None], instances[None])[0]
    assert given.shape == (6, 32, 32)
    assert torch.equal(given[:5].argmax(0), labels[:, :, 0].long())
    assert torch.equal(given[:5].sum(0), torch.ones(32, 32))
    inside = given[5, :, 1:-1].bool()  # an edge is where a neighbour to the side, or above or below, is another one
    number = instances[:, :, 0]
    sides = (number[:, 1:-1] != number[:, :-2]) | (number[:, 1:-1] != number[:, 2:])
    assert torch.equal(inside & sides, sides)
    assert 0 < inside.sum() < inside.numel()


def test_pictures_instead_of_labels(tmp_path):
    frames = photo_crops(3, 36)
    write_images(tmp_path / "train_A", frames // 2)
    write_images(tmp_path / "train_B", frames, ".bmp")
    spec = spec_of(labels=0)
    items = Labelled(find_labelled(tmp_path, spec), spec, seed=0)
    source, target = items[0, 1]
    assert (source.dtype, source.shape) == (torch.uint8, (32, 32, 3))
    assert torch.equal(source, (((target + 1) * 127.5).round() // 2).byte().permute(1, 2, 0))
    assert inputs_of(0, instances=True)[1] == 3


def test_names_of_cityscapes_are_matched(tmp_path):
    stem = "aachen_000000_000019"
    write_map(tmp_path / "train_label" / f"{stem}_gtFine_labelIds.png", np.zeros((9, 9)))
    write_map(tmp_path / "train_inst" / f"{stem}_gtFine_instanceIds.png", np.zeros((9, 9)))
    write_images(tmp_path / "train_img", photo_crops(1, 9))
    (tmp_path / "train_img" / "000.png").rename(tmp_path / "train_img" / f"{stem}_leftImg8bit.png")
    ((labels, instances, picture),) = find_labelled(tmp_path, spec_of())
    assert (labels.parent.name, instances.parent.name, picture.parent.name) == (
        "train_label",
        "train_inst",
        "train_img",
    )


def test_val_is_held_out_or_else_test(tmp_path):
    make_data(tmp_path, 2)
    assert find_held_out(tmp_path, spec_of()) == []
    make_data(tmp_path, 3, split="test")
    assert len(find_held_out(tmp_path, spec_of())) == 3
    make_data(tmp_path, 1, split="val")
    assert len(find_held_out(tmp_path, spec_of())) == 1


def test_classes_have_colours_that_can_be_told_apart():
    colours = to_colours(torch.arange(35, dtype=torch.int32).view(35, 1, 1, 1)).flatten(1)
    assert colours.shape == (35, 3)
    assert colours.abs().max() <= 1
    apart = torch.cdist(colours, colours) + 9 * torch.eye(35)
    assert apart.min() > 0.05
    assert torch.stack([apart[index, index + 1] for index in range(34)]).min() > 0.5


class TestBadData:
    @pytest.fixture
    def data(self, tmp_path):
        make_data(tmp_path, 2)
        return tmp_path

    def refuse(self, data, words, **changes):
        spec = spec_of(**changes)
        with pytest.raises(DataError, match=words):
            Labelled(find_labelled(data, spec), spec, seed=0)[0, 0]

    def test_a_label_that_is_no_class(self, data):
        write_map(data / "train_label" / "000.png", np.full((256, 256), 7))
        self.refuse(data, r"cannot be used: .*000\.png has the labels 7; the model knows 0 to 4")

    def test_labels_and_instances_of_different_sizes(self, data):
        write_map(data / "train_inst" / "000.png", np.zeros((9, 9)))
        self.refuse(data, "256x256 and its instances .* are 9x9")

    def test_colours_instead_of_labels(self, data):
        write_images(data / "train_label", photo_crops(2, 16))
        self.refuse(data, r"train_label/000\.png holds colours")

    def test_a_broken_picture(self, data):
        (data / "train_img" / "000.png").write_text("no picture")
        self.refuse(data, r"cannot be used: .*000\.png is damaged")

    def test_a_map_without_a_picture(self, data):
        (data / "train_img" / "001.png").unlink()
        self.refuse(data, "1 pictures have no counterpart .*: 001")

    def test_no_instances(self, data):
        (data / "train_inst").rename(data / "elsewhere")
        self.refuse(data, "train_inst does not exist.*instances=False")
        assert len(find_labelled(data, spec_of(instances=False))) == 2

    def test_pictures_where_labels_are_expected_and_the_other_way_round(self, data, tmp_path):
        self.refuse(data, "train_A does not exist.*`labels`", labels=0)
        write_images(tmp_path / "other" / "train_A", photo_crops(1, 16))
        self.refuse(tmp_path / "other", "train_label does not exist.*labels=0")
