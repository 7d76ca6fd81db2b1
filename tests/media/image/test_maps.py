"""Maps of classes and instances arrive as the numbers they are."""

import numpy as np
import pytest
from helpers.support import photo
from PIL import Image

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media.image import maps

NUMBERS = np.array([[0, 1, 2], [2, 1, 5]], np.uint8)


def save(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def with_palette(numbers):
    """An indexed PNG whose colours have nothing to do with its numbers."""
    image = Image.fromarray(numbers, "P")
    image.putpalette([(37 * index + 11) % 256 for index in range(768)])
    return image


@pytest.mark.parametrize("suffix", maps.SUFFIXES)
def test_grey_values_are_numbers(tmp_path, suffix):
    found = maps.read_map(save(tmp_path / f"x{suffix}", Image.fromarray(NUMBERS)))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found[:, :, 0], NUMBERS)


def test_of_a_palette_the_indices_are(tmp_path):
    np.testing.assert_array_equal(maps.read_map(save(tmp_path / "x.png", with_palette(NUMBERS)))[:, :, 0], NUMBERS)


def test_sixteen_bits_are_kept(tmp_path):
    numbers = np.array([[0, 26001], [33017, 65535]], np.uint16)
    np.testing.assert_array_equal(maps.read_map(save(tmp_path / "x.png", Image.fromarray(numbers)))[:, :, 0], numbers)


def test_one_bit_is_zero_and_one(tmp_path):
    image = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert maps.read_map(save(tmp_path / "x.png", image)).ravel().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize(
    ("name", "image", "words"),
    [
        ("colours.png", Image.fromarray(np.zeros((2, 2, 3), np.uint8)), r"holds colours \(mode RGB\).*grey values"),
        ("alpha.png", Image.fromarray(np.zeros((2, 2, 4), np.uint8)), r"holds colours \(mode RGBA\)"),
        ("lossy.jpg", Image.fromarray(NUMBERS), r"no map of numbers; expected one of \.png"),
    ],
)
def test_what_holds_no_numbers_is_refused(tmp_path, name, image, words):
    with pytest.raises(ItemFailed, match=words):
        maps.read_map(save(tmp_path / name, image))


def test_broken_files_are_sentences(tmp_path):
    whole = save(tmp_path / "x.png", Image.fromarray(np.random.default_rng(0).integers(0, 9, (64, 64), np.uint8)))
    data = whole.read_bytes()
    for content in (b"", b"hello", data[:20], data[: len(data) // 2]):
        whole.write_bytes(content)
        with pytest.raises(ItemFailed, match=r"x\.png (is damaged|cannot be read)"):
            maps.read_map(whole)
    with pytest.raises(ItemFailed, match="No such file"):
        maps.read_map(tmp_path / "missing.png")


def test_numbers_that_are_no_class_are_named(tmp_path):
    path = save(tmp_path / "x.png", Image.fromarray(np.array([[0, 3], [4, 255]], np.uint8)))
    with pytest.raises(ItemFailed, match=r"has the labels 4, 255; the model knows 0 to 3"):
        maps.read_labels(path, 4)
    assert maps.read_labels(path, 256).max() == 255


def test_between_two_classes_there_is_no_third():
    sizes = ((16, 16), (5, 7), (3, 90), (64, 2))
    found = np.dstack([np.indices((16, 16)).sum(axis=0) % 2 * 9, np.indices((16, 16))[0] * 70_000]).astype(np.int32)
    for height, width in sizes:
        rows = np.empty((height, width, 1), np.uint8), np.empty((height, width, 1), np.int32)
        maps.fit_into(found, rows)
        assert set(np.unique(rows[0])) <= {0, 9}
        assert set(np.unique(rows[1])) <= set(np.unique(found[:, :, 1]))
    same = np.empty((16, 16, 1), np.int32), np.empty((16, 16, 1), np.int32)
    maps.fit_into(found, same)
    np.testing.assert_array_equal(np.dstack(same), found)


def test_regions_of_one_class_are_instances_of_their_own():
    labels = np.array([[1, 0, 1], [1, 0, 1]], np.int32)[:, :, None]
    found = maps.with_regions(labels)
    np.testing.assert_array_equal(found[:, :, :1], labels)
    assert len(np.unique(found[:, :, 1])) == 3


def test_maps_drawn_after_a_photograph_have_many_classes_in_pieces():
    found = maps.with_regions(maps.draw_labels(photo("astronaut.png"), 35))
    assert found[:, :, 0].min() >= 0
    assert found[:, :, 0].max() <= 34
    assert len(np.unique(found[:, :, 0])) > 20
    assert len(np.unique(found[:, :, 1])) > 100


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("a.png", "a.png"),
        ("sub/a.png", "sub/a.png"),
        ("a.png", "a.tif"),
        ("aachen_gtFine_labelIds.png", "aachen_gtFine_instanceIds.png"),
    ],
)
def test_the_instances_of_a_label_map_are_found_by_name(tmp_path, name, there):
    path = save(tmp_path / there, Image.fromarray(NUMBERS))
    assert maps.instances_of(tmp_path / "labels" / name, name, tmp_path) == path
    assert maps.instances_of(tmp_path / "labels" / name, name, path) == path  # the file itself
    assert maps.instances_of(tmp_path / "labels" / name, name, None) is None
    with pytest.raises(ItemFailed, match="has no map of instances"):
        maps.instances_of(tmp_path / "labels" / "b.png", "b.png", tmp_path)


def test_maps_of_different_sizes_are_refused(tmp_path):
    labels = save(tmp_path / "l.png", Image.fromarray(NUMBERS))
    instances = save(tmp_path / "i.png", Image.fromarray(NUMBERS.T))
    source = maps.MapSource(labels, 9, instances)
    with pytest.raises(ItemFailed, match=r"is 2x3 and its instances .* are 3x2"):
        source.decode(next(source.items()))
