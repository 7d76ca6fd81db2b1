import cv2
import numpy as np
import pytest
from support import photo, photo_crops

from p2p_deploy import pixels


def test_an_image_of_the_right_size_is_not_touched():
    image = photo_crops(1, 32)[0]
    assert pixels.resize(image, 32, 32) is image
    assert pixels.restore(image, 32, 32) is image


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_the_channel_axis(channels):
    image = photo_crops(1, 32, channels)[0]
    for height, width in ((16, 48), (64, 64), (5, 7)):
        assert pixels.resize(image, height, width).shape == (height, width, channels)


def test_shrinking_averages_instead_of_aliasing():
    checkers = np.indices((64, 64)).sum(axis=0)[:, :, None].astype(np.uint8) % 2 * 255
    assert set(np.unique(pixels.resize(checkers, 16, 16))) <= {127, 128}


@pytest.mark.parametrize("source_channels", [1, 3])
@pytest.mark.parametrize("row_channels", [1, 3])
@pytest.mark.parametrize("side", [20, 64, 100])
def test_fit_into_fills_the_row_in_place(source_channels, row_channels, side):
    image = photo_crops(1, 64, source_channels)[0]
    batch = np.zeros((2, side, side, row_channels), np.uint8)
    pixels.fit_into(image, batch[1])
    assert (batch[0] == 0).all()
    grey = pixels.resize(pixels.to_channels(image, 1), side, side).astype(int)
    assert np.abs(pixels.to_channels(batch[1], 1).astype(int) - grey).max() <= 4


def test_colours_keep_their_order():
    red = np.zeros((4, 4, 3), np.uint8)
    red[..., 0] = 255
    assert pixels.to_channels(red, 1).ravel()[0] == round(0.299 * 255)
    row = np.zeros((8, 8, 3), np.uint8)
    pixels.fit_into(red, row)
    assert row[0, 0].tolist() == [255, 0, 0]


def test_other_channel_counts_are_refused():
    with pytest.raises(ValueError, match="4 channels to 3"):
        pixels.to_channels(np.zeros((2, 2, 4), np.uint8), 3)


def test_resizing_there_and_back_loses_little_on_a_photograph():
    image = photo("coffee.png")
    height, width = image.shape[:2]
    back = pixels.restore(pixels.resize(image, 512, 512), height, width)
    assert cv2.PSNR(image, back) > 30
