"""What the tests of videos do with clips: copy them through a source and a sink, read them, put them together."""

from fractions import Fraction
from itertools import islice

import av
import cv2
import numpy as np

from helpers.support import add_tone, photo_crops
from p2p_deploy.media import EndOfStream, open_sink, open_source
from p2p_deploy.media.base import ReadOptions, WriteOptions

# suffix -> muxer, video encoder, audio encoder
MADE_WITH = {
    ".ts": ("mpegts", "libx264", "aac"),
    ".m2ts": ("mpegts", "libx264", "ac3"),
    ".mts": ("mpegts", "mpeg2video", "mp2"),
    ".mpg": ("mpeg", "mpeg1video", "mp2"),
    ".mpeg": ("mpeg", "mpeg2video", "mp2"),
    ".vob": ("vob", "mpeg2video", "ac3"),
    ".wmv": ("asf", "wmv2", "wmav2"),
    ".asf": ("asf", "msmpeg4", "libmp3lame"),
    ".flv": ("flv", "flv", "libmp3lame"),
    ".3gp": ("3gp", "libx264", "aac"),
    ".3g2": ("3g2", "mpeg4", "aac"),
    ".ogv": ("ogg", "libvpx", "libopus"),
}


def copy_through(path, target, change=lambda image: image, *, reading=ReadOptions(), writing=WriteOptions()):
    """Decode and encode every frame, as the pipeline does; the source and the sink, both closed."""
    source = open_source(path, reading)
    sink = open_sink(target, source, writing)
    for item in source.items():
        try:
            frame, image = source.decode(item)
        except EndOfStream:
            continue
        sink.write(frame, change(image))
    sink.close()
    source.close()
    return source, sink


def read_source(path, options=ReadOptions()):
    """The frames of a clip, and the source at its end. Asks for more frames than there can be."""
    source = open_source(path, options)
    frames = []
    items = source.items()
    for item in islice(items, 1000):
        try:
            frames.append(source.decode(item))
        except EndOfStream:
            continue
    assert next(items, None) is None
    source.close()
    return frames, source


def times_of(path):
    return [frame.pts * frame.time_base for frame, _ in read_source(path)[0]]


def moving_frames(count):
    """A new picture every fifth frame, which makes encoders reorder frames."""
    return np.repeat(photo_crops(-(-count // 5), 64), 5, axis=0)[:count]


def copy_packets(path, target, *, sound=None, seconds=2, **options):
    """The same packets in another container; ``sound`` names the codec of ``seconds`` of noise added to them."""
    with av.open(str(path)) as source, av.open(str(target), "w", container_options=options) as container:
        targets = {stream: container.add_stream_from_template(stream) for stream in source.streams}
        noise = container.add_stream(sound, rate=48000, layout="mono") if sound else None
        for packet in source.demux():
            if packet.size:
                packet.stream = targets[packet.stream]
                container.mux(packet)
        if noise is not None:
            samples = np.random.default_rng(0).integers(-9000, 9000, (1, 48000 * seconds), dtype=np.int16)
            for start in range(0, 48000 * seconds, 1152):
                frame = av.AudioFrame.from_ndarray(samples[:, start : start + 1152], format="s16", layout="mono")
                frame.sample_rate, frame.pts = 48000, start
                container.mux(noise.encode(frame))
            container.mux(noise.encode(None))
    return target


def stream_facts(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.duration, stream.time_base, stream.average_rate, container.duration


ENCODERS = {
    ".avi": ("mpeg4", {"flags": "+qscale", "global_quality": "236"}),
    ".webm": ("libvpx-vp9", {"crf": "4", "b": "0"}),
}


def write_clip(path, frames, key_every):
    """Write (N, H, W, 3) frames, 25 a second, with a key frame every ``key_every`` of them and nowhere else."""
    encoder, options = ENCODERS.get(path.suffix, ("libx264", {"crf": "4", "preset": "veryfast"}))
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {**options, "g": str(key_every), **({} if encoder == "libvpx-vp9" else {"sc_threshold": "0"})}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path


def nearest(image, frames):
    """Which of the frames an image is, after whatever encoders did to it."""
    return max(range(len(frames)), key=lambda index: cv2.PSNR(image, frames[index]))


def make(path, frames):
    """A clip of 25 frames a second, with a tone where the container takes one."""
    if path.suffix == ".y4m":
        return make_y4m(path, frames)
    muxer, encoder, sound = MADE_WITH[path.suffix]
    with av.open(str(path), "w", format=muxer) as container:
        stream = container.add_stream(encoder, rate=25)
        stream.height, stream.width, stream.pix_fmt, stream.bit_rate = *frames.shape[1:3], "yuv420p", 4_000_000
        tone = container.add_stream(sound, rate=48000, layout="mono", bit_rate=64000)
        for index, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        add_tone(container, tone, len(frames) / 25)
    return path


def make_y4m(path, frames):
    height, width = frames.shape[1:3]
    with path.open("wb") as file:
        file.write(b"YUV4MPEG2 W%d H%d F25:1 Ip A1:1 C420jpeg\n" % (width, height))
        for image in frames:
            picture = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format="yuv420p")
            file.write(b"FRAME\n" + picture.to_ndarray().tobytes())
    return path
