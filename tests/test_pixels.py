from dataclasses import replace

import cv2
import numpy as np
import pytest
from helpers.support import photo, photo_crops

from p2p_deploy import pixels
from p2p_deploy.spec import ImageSpec

RGB, GREY = ImageSpec.for_channels(3), ImageSpec.for_channels(1)


def test_an_image_of_the_right_size_is_not_touched():
    image = photo_crops(1, 32)[0]
    assert pixels.resize(image, 32, 32) is image
    assert pixels.restore(image, 32, 32, RGB) is image


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_the_channel_axis(channels):
    image = photo_crops(1, 32, channels)[0]
    for height, width in ((16, 48), (64, 64), (5, 7)):
        assert pixels.resize(image, height, width).shape == (height, width, channels)


def test_shrinking_averages_instead_of_aliasing():
    checkers = np.indices((64, 64)).sum(axis=0)[:, :, None].astype(np.uint8) % 2 * 255
    assert set(np.unique(pixels.resize(checkers, 16, 16))) <= {127, 128}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(16, 100), (100, 16), (7, 150), (150, 7), (1, 65), (65, 1)])
def test_a_side_that_shrinks_does_not_alias_while_the_other_grows(height, width, channels):
    down, across = np.indices((64, 64))
    for pattern in (down + across, down if height < width else across):
        image = np.repeat(pattern[:, :, None] % 2 * 255, channels, axis=2).astype(np.uint8)
        resized = pixels.resize(image, height, width)
        assert resized.shape == (height, width, channels)
        assert np.abs(resized.astype(int) - 127.5).max() < 16


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("value", [0, 1, 77, 254, 255])
def test_a_flat_image_stays_flat_at_any_size(value, channels):
    image = np.full((30, 40, channels), value, np.uint8)
    for height, width in ((7, 90), (90, 7), (7, 11), (90, 110), (1, 1), (30, 90), (7, 40)):
        assert (pixels.resize(image, height, width) == value).all()


@pytest.mark.parametrize("source_channels", [1, 3])
@pytest.mark.parametrize("row_channels", [1, 3])
@pytest.mark.parametrize("side", [20, 64, 100])
def test_fit_into_fills_the_row_in_place(source_channels, row_channels, side):
    image = photo_crops(1, 64, source_channels)[0]
    batch = np.zeros((2, side, side, row_channels), np.uint8)
    pixels.fit_into(image, batch[1], ImageSpec.for_channels(row_channels))
    assert (batch[0] == 0).all()
    grey = pixels.resize(pixels.to_channels(image, 1), side, side).astype(int)
    assert np.abs(pixels.to_channels(batch[1], 1).astype(int) - grey).max() <= 4


def test_colours_keep_their_order():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert pixels.to_channels(red, 1).ravel()[0] == round(0.299 * 255)
    row = np.zeros((8, 8, 3), np.uint8)
    pixels.fit_into(red, row, RGB)
    assert row[0, 0].tolist() == [255, 0, 0]


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="4 channels to 3"):
        pixels.to_channels(np.zeros((2, 2, 4), np.uint8), 3)


def test_resizing_there_and_back_loses_little_on_a_photograph():
    image = photo("coffee.png")
    height, width = image.shape[:2]
    back = pixels.restore(pixels.resize(image, 512, 512), height, width, RGB)
    assert cv2.PSNR(image, back) > 30


VALUES = replace(GREY, dtype="float32", value_range=(-1.0, 1.0))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_every_level_survives_as_a_value(depth):
    largest = np.iinfo(depth).max
    levels = np.arange(largest + 1, dtype=depth).reshape(1, -1, 1)
    row = np.empty((1, 1, levels.size), np.float32)
    pixels.fit_into(levels, row, VALUES)
    assert (row[0, 0, 0], row[0, 0, -1]) == (-1, 1)
    back = pixels.restore(row, 1, levels.size, VALUES, depth)
    assert back.dtype == depth
    np.testing.assert_array_equal(back, levels)


def test_values_keep_colours_and_places():
    image = photo_crops(1, 32)[0]
    values = pixels.to_values(image, (0, 255))
    np.testing.assert_array_equal(values, image.transpose(2, 0, 1))
    np.testing.assert_array_equal(pixels.from_values(values[None], (0, 255)), image[None])


def test_values_beyond_the_range_are_clamped_and_broken_ones_refused():
    assert pixels.from_values(np.float32([[[-2, 2]]]), (-1, 1)).ravel().tolist() == [0, 255]
    for broken in (np.nan, np.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            pixels.from_values(np.float32([[[broken]]]), (-1, 1))


def test_depths_are_converted_so_that_black_and_white_stay():
    levels = np.arange(256, dtype=np.uint8).reshape(1, -1, 1)
    deep = pixels.to_depth(levels, np.uint16)
    assert (deep[0, 0, 0], deep[0, -1, 0]) == (0, 65535)
    np.testing.assert_array_equal(pixels.to_depth(deep, np.uint8), levels)
    row = np.zeros((1, 256, 1), np.uint8)
    pixels.fit_into(deep, row, GREY)
    np.testing.assert_array_equal(row, levels)
