"""What every source and sink must do; a new one is covered by a line in ``SOURCES``."""

import cv2
import numpy as np
import pytest
from helpers.support import leftovers, make_clip, photo_crops, write_images
from PIL import Image

from p2p_deploy.errors import ItemFailed
from p2p_deploy.media import EndOfStream, open_sink, open_source
from p2p_deploy.media.base import Frame

PAGES = " of seven pages.tiff"
SOURCES = (".png", ".jpg", ".bmp", ".tiff", PAGES, ".webp", ".avif", ".gif", ".mp4", ".mov", ".mkv", ".avi", ".webm")
FRAMES = {True: 7, False: 1}


def make(folder, suffix):
    if suffix in (".mp4", ".mov", ".mkv", ".avi", ".webm"):
        return make_clip(folder / f"source{suffix}", photo_crops(7, 64))
    if suffix == PAGES:
        assert cv2.imwritemulti(str(folder / PAGES), [frame[:, :, ::-1] for frame in photo_crops(7, 64)])
        return folder / PAGES
    if suffix == ".gif":
        Image.fromarray(photo_crops(1, 64)[0]).quantize(256).save(folder / "000.gif")
        return folder / "000.gif"
    return write_images(folder, photo_crops(1, 64), suffix)[0]


def output_suffix(path):
    return path.suffix if path.suffix != ".gif" else ".png"  # of those that are written


def read_all(source) -> list[tuple[Frame, np.ndarray]]:
    frames = []
    for item in source.items():
        try:
            frames.append(source.decode(item))
        except EndOfStream:
            break
    return frames


@pytest.fixture(params=SOURCES)
def path(request, tmp_path):
    return make(tmp_path, request.param)


@pytest.fixture
def source(path):
    source = open_source(path)
    yield source
    source.close()


def test_every_suffix_has_a_source_under_contract():
    from p2p_deploy.media import IMAGE_SUFFIXES, VIDEO_SUFFIXES
    from p2p_deploy.media.containers import CONTAINERS, READ_ONLY

    assert {".jpeg", ".tif", ".m4v"} | {*SOURCES} - {PAGES} == {*IMAGE_SUFFIXES, *CONTAINERS}
    assert set(VIDEO_SUFFIXES) == {*CONTAINERS, *READ_ONLY}  # the latter are in test_video_containers.py


def test_gives_every_frame_once_in_order(source):
    frames = read_all(source)
    assert [frame.index for frame, _ in frames] == list(range(FRAMES[source.sequential]))
    for (frame, image), original in zip(frames, photo_crops(7, 64), strict=False):
        assert image.dtype == np.uint8
        assert image.shape == (*frame.size, frame.channels) == (64, 64, 3)
        assert np.abs(image.astype(int) - original).mean() < 6  # the codecs' loss, far below two different pictures
    assert source.damage is None


def test_time_stamps_rise(source):
    times = [frame.pts * frame.time_base for frame, _ in read_all(source)]
    assert times == sorted(set(times))


def test_there_is_nothing_after_the_end(source):
    frames = read_all(source)
    with pytest.raises(EndOfStream):
        source.decode(type(next(iter(open_source(source.path).items())))(source.path, len(frames)))


def test_closing_twice_is_fine(source):
    source.close()
    source.close()


def test_a_sink_writes_what_it_is_given_under_its_name_at_the_end(source, path, tmp_path):
    target = tmp_path / "out" / f"result{output_suffix(path)}"
    sink = open_sink(target, source)
    frames = read_all(source)
    for frame, image in frames:
        sink.write(frame, 255 - image)
        assert not target.exists()
    sink.close()
    assert not leftovers(tmp_path)
    for (_, image), (_, original) in zip(read_all(open_source(target)), frames, strict=True):
        assert np.abs(image.astype(int) - (255 - original)).mean() < 6


def test_an_aborted_sink_leaves_nothing(source, path, tmp_path):
    sink = open_sink(tmp_path / "out" / f"result{output_suffix(path)}", source)
    sink.write(*next(iter(read_all(source))))
    sink.abort()
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("content", [b"", b"just text, whatever the suffix says", b"\x00" * 5000])
def test_a_file_that_is_none_is_one_failed_item(path, content):
    path.write_bytes(content)
    with pytest.raises(ItemFailed, match=path.name):
        read_all(open_source(path))


def test_a_missing_file_is_one_failed_item(path):
    path.unlink()
    with pytest.raises(ItemFailed, match=path.name):
        read_all(open_source(path))


def test_images_of_the_right_size_are_decoded_where_they_are_wanted(tmp_path):
    """And nothing is written there when the size is another."""
    image = photo_crops(1, 48)[0]
    (path,) = write_images(tmp_path, image[None])
    for shape, same in (((48, 48, 3), True), ((48, 40, 3), False), ((48, 48, 1), False)):
        into = np.full(shape, 7, np.uint8)
        source = open_source(path)
        _, pixels = source.decode(next(iter(source.items())), into)
        assert (pixels is into) == same
        assert same or (into == 7).all()
        np.testing.assert_array_equal(pixels, image)
