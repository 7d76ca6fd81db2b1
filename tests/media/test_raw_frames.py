"""Raw frames through pipes."""

import io
import os
import threading

import numpy as np
import pytest
from helpers.support import photo_crops

from p2p_deploy.errors import Failed, ItemFailed
from p2p_deploy.media.base import EndOfStream, Frame
from p2p_deploy.media.raw_frames import RawSink, RawSource


@pytest.fixture
def pictures():
    return np.ascontiguousarray(photo_crops(7, 64)[:, :48])  # higher than wide would hide exchanged sides


def read_all(source):
    frames = []
    for item in source.items():
        try:
            frames.append(source.decode(item))
        except EndOfStream:
            continue
    return frames


def test_frames_come_one_after_the_other(pictures):
    source = RawSource(io.BytesIO(pictures.tobytes()), 48, 64)
    frames = read_all(source)
    assert source.sequential
    assert source.damage is None
    assert [frame.index for frame, _ in frames] == [frame.pts for frame, _ in frames] == list(range(7))
    assert {(frame.size, frame.channels, frame.depth) for frame, _ in frames} == {((48, 64), 3, 8)}
    np.testing.assert_array_equal([image for _, image in frames], pictures)


def test_a_pipe_that_gives_a_little_at_a_time_gives_whole_frames(pictures):
    reading, writing = os.pipe()
    data = pictures.tobytes()

    def feed():
        with os.fdopen(writing, "wb", buffering=0) as file:
            for start in range(0, len(data), 997):
                file.write(data[start : start + 997])

    feeder = threading.Thread(target=feed)
    feeder.start()
    with os.fdopen(reading, "rb", buffering=0) as file:
        frames = read_all(RawSource(file, 48, 64))
    feeder.join()
    np.testing.assert_array_equal([image for _, image in frames], pictures)


def test_a_frame_that_is_cut_off_is_damage(pictures):
    source = RawSource(io.BytesIO(pictures.tobytes()[:-10]), 48, 64)
    assert len(read_all(source)) == 6
    assert source.damage == (
        "The raw frames end in the middle of one: 9206 bytes came after frame 6; expected 9216 (48x64x3)"
    )


def test_nothing_at_all_is_the_end():
    source = RawSource(io.BytesIO(), 48, 64)
    assert read_all(source) == []
    assert source.damage is None


def test_there_is_nothing_after_the_end_or_after_closing(pictures):
    source = RawSource(io.BytesIO(pictures.tobytes()), 48, 64)
    item = next(source.items())
    source.close()
    source.close()
    assert list(source.items()) == []
    with pytest.raises(EndOfStream):
        source.decode(item)


def test_a_file_that_cannot_be_read_is_one_failed_input(tmp_path):
    file = (tmp_path / "closed").open("wb+")
    file.close()
    source = RawSource(file, 48, 64)
    with pytest.raises(ItemFailed, match=r"raw frames cannot be read after frame 0 \(.*closed"):
        source.decode(next(source.items()))


def test_frames_are_written_without_anything_between(pictures):
    file = io.BytesIO()
    sink = RawSink(file)
    for index, image in enumerate(pictures):
        sink.write(Frame(index, (48, 64), 3), image)
        assert len(file.getvalue()) == (index + 1) * image.nbytes
    sink.close()
    sink.abort()
    assert file.getvalue() == pictures.tobytes()
    assert sink.notes == ()


def test_other_pixels_become_rgb_of_eight_bits(pictures):
    file = io.BytesIO()
    sink = RawSink(file)
    grey = pictures[0, :, :, :1]
    sink.write(Frame(0, (48, 64), 1), grey)
    sink.write(Frame(1, (48, 64), 3, depth=16), pictures[1].astype(np.uint16) * 257)
    sink.write(Frame(2, (48, 64), 3), pictures[2, :, ::-1])
    expected = (np.repeat(grey, 3, axis=2), pictures[1], pictures[2, :, ::-1])
    assert file.getvalue() == b"".join(image.tobytes() for image in expected)


def test_a_reader_that_goes_away_stops_the_run(pictures):
    reading, writing = os.pipe()
    os.close(reading)
    sink = RawSink(os.fdopen(writing, "wb", buffering=0))
    with pytest.raises(Failed, match=r"Whoever reads the raw frames stopped after frame 3, so the run stops too"):
        sink.write(Frame(3, (48, 64), 3), pictures[0])


def test_a_full_disk_stops_the_run(pictures):
    with open("/dev/full", "wb", buffering=0) as file, pytest.raises(Failed, match="cannot be written: No space left"):  # noqa: PTH123
        RawSink(file).write(Frame(0, (48, 64), 3), pictures[0])
