"""Colours, their tags and their depth."""

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace
from clips import copy_through


@pytest.mark.parametrize("matrix", [Colorspace.ITU709, Colorspace.ITU601])
@pytest.mark.parametrize("full_range", [False, True])
def test_colours_and_their_tags_survive(matrix, full_range, tmp_path):
    """Flat patches through decoding, encoding and decoding again, each with the matrix the stream is tagged with."""
    patches = np.zeros((96, 128, 3), np.uint8)
    for index, colour in enumerate(np.random.default_rng(0).integers(20, 236, (12, 3))):
        row, column = divmod(index, 4)
        patches[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = colour
    tag = {Colorspace.ITU709: 1, Colorspace.ITU601: 6}[matrix]
    color_range = ColorRange.JPEG if full_range else ColorRange.MPEG
    path = tmp_path / "tagged.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=10, options={"crf": "1"})
        stream.height, stream.width, stream.pix_fmt = 96, 128, "yuv420p"
        context = stream.codec_context
        context.colorspace, context.color_range, context.color_primaries, context.color_trc = tag, color_range, tag, tag
        for index in range(3):
            frame = av.VideoFrame.from_ndarray(patches, format="rgb24").reformat(
                format="yuv420p", dst_colorspace=matrix, src_color_range=ColorRange.JPEG, dst_color_range=color_range
            )
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode())

    source, result = [], []
    copy_through(path, tmp_path / "out.mp4", lambda image: source.append(image) or image)
    copy_through(tmp_path / "out.mp4", tmp_path / "again.mp4", lambda image: result.append(image) or image)
    centres = (slice(8, None, 32), slice(8, None, 32))
    for before, after in zip(source, result, strict=True):
        assert np.abs(before[centres].astype(int) - patches[centres]).max() <= 3
        assert np.abs(after[centres].astype(int) - before[centres]).max() <= 3
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        tags = (context.colorspace, context.color_range, context.color_primaries, context.color_trc)
    assert tuple(map(int, tags)) == (tag, int(color_range), tag, tag)
