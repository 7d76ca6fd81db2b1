"""What the tests of videos do with clips: copy them through a source and a sink, read them, put them together."""

from itertools import islice

import av
import cv2
import numpy as np
from support import photo_crops

from p2p_deploy.media import EndOfStream, open_sink, open_source
from p2p_deploy.media.base import ReadOptions, WriteOptions


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
            if packet.dts is not None:
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
