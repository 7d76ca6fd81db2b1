"""Clips whose key frames are where a test wants them."""

import av
import cv2

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
