"""What several tests make or measure: small networks, real photographs, clips."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from p2p_deploy import pixels
from p2p_deploy.demo.photos import locate
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.spec import ImageSpec, ModelSpec

ROOT = Path(__file__).parents[2]
PHOTO_FILES = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg", "retina.jpg", "ihc.png", "camera.png")


def photo(name: str) -> np.ndarray:
    """A photograph of scikit-image, (H, W, C) uint8."""
    return read_image(locate("scikit-image", f"skimage/data/{name}"))[0]


def photo_crops(count: int, size: int, channels: int = 3, seed: int = 0) -> np.ndarray:
    """Distinct crops of different photographs: (count, size, size, channels) uint8."""
    random = np.random.default_rng(seed)
    sources = [pixels.to_channels(photo(name), channels) for name in PHOTO_FILES]
    crops = []
    for index in range(count):
        source = sources[index % len(sources)]
        side = int(random.integers(size, min(source.shape[:2]) + 1))
        top, left = (int(random.integers(0, length - side + 1)) for length in source.shape[:2])
        crops.append(pixels.resize(source[top : top + side, left : left + side], size, size))
    return np.stack(crops)


def write_images(folder: Path, frames: np.ndarray, suffix: str = ".png") -> list[Path]:
    """Write frames as 000.png, 001.png and so on."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index:03d}{suffix}" for index in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        path.write_bytes(encode_image(frame, suffix))
    return paths


def unet_spec(*, size: int = 64, num_downs: int = 5, ngf: int = 4, in_channels: int = 3) -> ModelSpec:
    return ModelSpec(
        name="test",
        arch="unet",
        arch_kwargs={"in_channels": in_channels, "num_downs": num_downs, "ngf": ngf},
        inputs=(ImageSpec.for_channels(in_channels),),
        output=ImageSpec.for_channels(3),
        size_multiple=2**num_downs,
        min_size=2**num_downs,
        train_size=(size, size),
    )


def latent_spec(*, classes: int = 0, z_dim: int = 8, size: int = 12, ngf: int = 16) -> ModelSpec:
    return ModelSpec(
        name="drawing",
        arch="mlp",
        arch_kwargs={"z_dim": z_dim, "ngf": ngf, "size": size, "classes": classes},
        inputs=(ImageSpec.for_latent(z_dim), *((ImageSpec.for_class(classes),) if classes else ())),
        output=ImageSpec.for_channels(1),
        size_multiple=size,
        min_size=size,
        train_size=(size, size),
        fixed_size=(size, size),
        required_features=("latent",),
    )


def drawing_generator(spec: ModelSpec, seed: int = 0):
    """A generator whose pictures vary with the latent vector and with the class."""
    import torch

    from p2p_deploy.generators import build_generator

    torch.manual_seed(seed)
    generator = build_generator(spec.arch, spec.arch_kwargs).eval()
    with torch.no_grad():
        for layer in generator.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.weight.normal_(0, (2 / layer.in_features) ** 0.5)
                if layer.bias is not None:
                    layer.bias.normal_(0, 0.1)
        if generator.embed:
            generator.embed.weight.normal_()
    return generator


def varied_generator(spec: ModelSpec, seed: int = 0):
    """A generator whose output varies with its input."""
    import torch

    from helpers.networks import vary_output
    from p2p_deploy.generators import build_generator

    torch.manual_seed(seed)
    frames = photo_crops(8, spec.train_size[0], spec.input.channels, seed=seed)
    x = torch.from_numpy(frames).permute(0, 3, 1, 2).float() / 127.5 - 1
    return vary_output(build_generator(spec.arch, spec.arch_kwargs), x)


def make_clip(
    path: Path,
    frames: np.ndarray,
    *,
    rate: Fraction = Fraction(25),
    pts: list[int] | None = None,
    time_base: Fraction | None = None,
    audio: bool = False,
    rotation: int = 0,
    crf: str = "4",
) -> Path:
    """Write (N, H, W, 3) frames as H.264 (VP9 for .webm), optionally with a tone."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9" if path.suffix == ".webm" else "libx264", rate=rate)
        stream.options = {"crf": crf} | (
            {"b": "0", "cpu-used": "8"} if path.suffix == ".webm" else {"preset": "veryfast"}
        )
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = time_base or 1 / rate
        if rotation:
            stream.set_display_rotation(rotation)
        codec = "libopus" if path.suffix == ".webm" else "aac"
        sound = container.add_stream(codec, rate=48000, layout="mono") if audio else None
        for index, pixels_HWC in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24")
            frame.pts = pts[index] if pts else index
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
        if sound is not None:
            add_tone(container, sound, float(len(frames) / rate))
    return path


def add_tone(container, sound, seconds: float) -> None:
    samples = np.arange(round(seconds * 48000))
    tone = (0.3 * np.sin(samples * (2 * np.pi * 440 / 48000))).astype(np.float32)
    resampler = av.AudioResampler(format=sound.codec_context.format, layout="mono", rate=48000, frame_size=960)
    for start in range(0, len(tone), 960):
        frame = av.AudioFrame.from_ndarray(tone[None, start : start + 960], format="fltp", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48000, start, Fraction(1, 48000)
        for piece in resampler.resample(frame):
            container.mux(sound.encode(piece))
    container.mux(sound.encode(None))


def read_clip(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """(time in seconds, (H, W, 3) RGB) of every frame, read with FFmpeg's default conversion."""
    with av.open(str(path)) as container:
        return [(frame.pts * frame.time_base, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def audio_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    """(time in seconds, data) of every audio packet."""
    with av.open(str(path)) as container:
        streams = container.streams.audio
        packets = container.demux(streams) if streams else ()
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in packets if packet.dts is not None]


def place(folder: Path, *names: str) -> Path:
    """Files of one byte below a folder."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    return folder


def read_record(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "p2p-run.jsonl").read_text().splitlines()]


def by_input(folder: Path) -> dict[str, dict]:
    """The lines of a run's record that are about an input, by its name."""
    return {line["input"]: line for line in read_record(folder) if "input" in line}


def leftovers(folder: Path) -> list[Path]:
    """Temporary files that should have been removed."""
    return [path for path in folder.rglob("*") if ".part" in path.name or path.name.startswith(".")]


def p2p(*arguments: object, cwd: Path | None = None, **kwargs) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "p2p_deploy", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        **kwargs,
    )


def invoke(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the command line in this process, where torch is loaded already: the same answers, seconds sooner."""
    from typer.testing import CliRunner

    from p2p_deploy.cli import app

    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return subprocess.CompletedProcess(arguments, result.exit_code, result.stdout, result.stderr)


def assert_refused(result: subprocess.CompletedProcess[str], *words: str, code: int = 1) -> None:
    """One ``error:`` line on stderr, these words, the exit code, and no traceback."""
    assert result.returncode == code, (result.returncode, result.stdout, result.stderr)
    assert "Traceback" not in result.stderr + result.stdout
    assert sum(line.startswith("error: ") for line in result.stderr.splitlines()) == 1, result.stderr
    for word in words:
        assert word in result.stderr, (word, result.stderr)


def imwrite(path: Path, image: np.ndarray) -> Path:
    """Write with OpenCV as another program would: BGR, BGRA, grey or 16-bit."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path
