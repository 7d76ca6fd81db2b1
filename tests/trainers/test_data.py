import itertools

import numpy as np
import pytest
import torch
from helpers.support import imwrite, photo_crops, write_images

from p2p_deploy.errors import DataError
from trainers.data import AlignedPairs, ShuffledEpochs, find_held_out, find_pairs, read_pair, to_pixels, to_tensor


def two_trees(root, count=5):
    """A is a dark copy of B, so that a pair can be recognised."""
    frames = photo_crops(count, 48)
    write_images(root / "B" / "train", frames)
    write_images(root / "A" / "train", frames // 2)
    return frames


def side_by_side(folder, count=5):
    frames = photo_crops(count, 48)
    write_images(folder, np.concatenate([frames // 2, frames], axis=2))
    return frames


@pytest.mark.parametrize("layout", ["trees", "train", "flat"])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_both_layouts_give_the_same_pairs(tmp_path, layout, direction):
    make = {
        "trees": lambda: two_trees(tmp_path),
        "train": lambda: side_by_side(tmp_path / "train"),
        "flat": lambda: side_by_side(tmp_path),
    }
    frames = make[layout]()
    pairs = find_pairs(tmp_path)
    assert len(pairs) == 5
    for files, frame in zip(pairs, frames, strict=True):
        a, b = read_pair(files, direction)
        dark, bright = (a, b) if direction == "AtoB" else (b, a)
        np.testing.assert_array_equal(bright, frame)
        np.testing.assert_array_equal(dark, frame // 2)


def test_names_are_matched_whatever_the_suffix(tmp_path):
    two_trees(tmp_path)
    (tmp_path / "A" / "train" / "002.png").rename(tmp_path / "A" / "train" / "002.bmp")
    assert len(find_pairs(tmp_path)) == 5


def test_input_and_target_are_cropped_and_flipped_alike(tmp_path):
    two_trees(tmp_path)
    pairs = AlignedPairs(find_pairs(tmp_path), 32, 3, "AtoB", seed=0)
    for epoch, index in itertools.product(range(4), range(5)):
        source, target = pairs[epoch, index]
        assert source.shape == target.shape == (3, 32, 32)
        assert (target / 2 - 0.5 - source).abs().mean() < 0.02


def test_augmentation_depends_on_seed_epoch_and_index_only(tmp_path):
    two_trees(tmp_path)
    pairs = AlignedPairs(find_pairs(tmp_path), 32, 3, "AtoB", seed=0)
    first = pairs[1, 2][0]
    torch.manual_seed(99)
    np.random.default_rng(5).random(10)
    assert torch.equal(pairs[1, 2][0], first)
    assert not torch.equal(pairs[2, 2][0], first)
    assert not torch.equal(AlignedPairs(pairs.files, 32, 3, "AtoB", seed=1)[1, 2][0], first)


def test_inputs_become_grey_when_asked(tmp_path):
    two_trees(tmp_path)
    source, target = AlignedPairs(find_pairs(tmp_path), 32, 1, "AtoB", seed=0)[0, 0]
    assert source.shape == (1, 32, 32)
    assert target.shape == (3, 32, 32)


def test_every_epoch_sees_every_picture_once_in_its_own_order():
    keys = list(itertools.chain.from_iterable(itertools.islice(ShuffledEpochs(10, 4, seed=0), 5)))
    assert [epoch for epoch, _ in keys] == [0] * 10 + [1] * 10
    first, second = ([index for _, index in keys[start : start + 10]] for start in (0, 10))
    assert sorted(first) == sorted(second) == list(range(10))
    assert first != second


def test_no_batch_is_short():
    assert [len(batch) for batch in itertools.islice(ShuffledEpochs(5, 3, seed=0), 7)] == [3] * 7


@pytest.mark.parametrize("start", [1, 3, 4, 9])
def test_batches_from_a_number_on_are_those_of_the_whole_sequence(start):
    whole = list(itertools.islice(ShuffledEpochs(10, 4, seed=3), 14))
    assert list(itertools.islice(ShuffledEpochs(10, 4, seed=3, start=start), 5)) == whole[start : start + 5]


def test_processes_share_what_one_alone_would_take():
    alone = list(itertools.islice(ShuffledEpochs(10, 6, seed=0, start=2), 4))
    shares = [list(itertools.islice(ShuffledEpochs(10, 2, 0, 2, part, 3), 4)) for part in range(3)]
    assert [list(itertools.chain(*parts)) for parts in zip(*shares, strict=True)] == alone


def test_held_out_pairs_are_those_of_val_or_else_test(tmp_path):
    two_trees(tmp_path)
    assert find_held_out(tmp_path) == []
    for side in "AB":
        write_images(tmp_path / side / "test", photo_crops(2, 16))
    assert len(find_held_out(tmp_path)) == 2
    for side in "AB":
        write_images(tmp_path / side / "val", photo_crops(3, 16))
    assert len(find_held_out(tmp_path)) == 3


def test_held_out_pictures_are_shown_whole(tmp_path):
    frames = two_trees(tmp_path)
    source, target = AlignedPairs(find_pairs(tmp_path), 48, 3, "AtoB", seed=0, augment=False)[7, 2]
    np.testing.assert_array_equal(to_pixels(target), frames[2])
    np.testing.assert_array_equal(to_pixels(source), frames[2] // 2)


def test_pixels_survive_the_way_to_the_network_and_back():
    image = photo_crops(1, 16)[0]
    tensor = to_tensor(image)
    assert tensor.min() >= -1
    assert tensor.max() <= 1
    np.testing.assert_array_equal(to_pixels(tensor), image)


class TestBadData:
    def refuse(self, root, words):
        with pytest.raises(DataError, match=words):
            find_pairs(root)

    def test_no_folder(self, tmp_path):
        self.refuse(tmp_path / "missing", "is not a folder")

    def test_no_images(self, tmp_path):
        self.refuse(tmp_path, "holds no images")

    def test_one_side_only(self, tmp_path):
        two_trees(tmp_path)
        (tmp_path / "B").rename(tmp_path / "C")
        self.refuse(tmp_path, "does not exist, but its counterpart does")

    def test_names_without_a_counterpart(self, tmp_path):
        two_trees(tmp_path)
        (tmp_path / "A" / "train" / "001.png").unlink()
        self.refuse(tmp_path, "1 pictures have no counterpart .*: 001")

    def test_two_files_of_one_name(self, tmp_path):
        write_images(tmp_path / "A" / "train", photo_crops(2, 16))
        write_images(tmp_path / "B" / "train", photo_crops(2, 16))
        (tmp_path / "A" / "train" / "000.jpg").write_bytes(b"")
        with pytest.raises(DataError, match=r"000\.jpg and 000\.png have the same name"):
            find_pairs(tmp_path)

    def test_two_empty_sides(self, tmp_path):
        (tmp_path / "A" / "train").mkdir(parents=True)
        (tmp_path / "B" / "train").mkdir(parents=True)
        self.refuse(tmp_path, "holds no images")

    def test_an_odd_width(self, tmp_path):
        imwrite(tmp_path / "x.png", np.zeros((8, 9, 3), np.uint8))
        with pytest.raises(DataError, match="9 pixels wide"):
            read_pair(find_pairs(tmp_path)[0])

    def test_a_broken_picture(self, tmp_path):
        (tmp_path / "x.png").write_text("no picture")
        with pytest.raises(DataError, match=r"cannot be used: .*x\.png is damaged"):
            read_pair(find_pairs(tmp_path)[0])
