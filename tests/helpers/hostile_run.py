"""A run over good and hostile files, watched from outside, and everything that may not happen in one."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import av
import cv2
import numpy as np
from PIL import Image, ImageOps

from helpers.hostile_files import Placed, clip
from helpers.support import ROOT, leftovers, photo_crops, read_record

# Pillow's name of the format, mode, options, and by how much its decoder may differ on average: by nothing where the
# format is lossless.
FORMS = (
    (".jpg", "JPEG", "RGB", {"quality": 90}, 1.0),
    (".png", "PNG", "RGB", {}, 0.0),
    (".webp", "WEBP", "RGB", {"quality": 80}, 1.0),
    (".tif", "TIFF", "RGB", {"compression": "tiff_lzw"}, 0.0),
    (".bmp", "BMP", "RGB", {}, 0.0),
    (".avif", "AVIF", "RGB", {"quality": 80}, 1.5),
    (".jpeg", "JPEG", "L", {}, 1.0),
    (".png", "PNG", "L", {}, 0.0),
    (".png", "PNG", "RGBA", {}, 0.0),
    (".png", "PNG", "LA", {}, 0.0),
    (".png", "PNG", "P", {}, 0.0),
    (".gif", "GIF", "P", {}, 0.0),
    (".webp", "WEBP", "RGBA", {"lossless": True}, 0.0),
    (".tiff", "TIFF", "RGBA", {}, 0.0),
    (".jpg", "JPEG", "CMYK", {"quality": 95}, 2.0),
    (".jpg", "JPEG", "turned", {}, 1.0),
    (".png", "PNG", "16", {}, 0.5),
    (".jpg", "JPEG", "RGB", {"progressive": True, "restart_marker_blocks": 8}, 1.0),
)
CLIPS = (".mp4", ".mkv", ".avi")
NOT_SHOWN = re.compile(r"[^\n -~\u00a1-\u01ff\u2018-\u201d…×]")


class Ran(NamedTuple):
    """How a run went."""

    code: int
    stdout: str
    stderr: str
    seconds: float
    peak_mib: float


def write_good(folder: Path, count: int) -> dict[str, float]:
    """Write pictures of all forms in turn and three clips; by name, how far another decoder may be off on average."""
    folder.mkdir(parents=True, exist_ok=True)
    allowed = {}
    for index in range(count - len(CLIPS)):
        suffix, form, mode, options, off = FORMS[index % len(FORMS)]
        side = 48 + 16 * (index % 9)
        frame = photo_crops(1, side, seed=index)[0][: side - 7 * (index % 4)]
        path = folder / f"good-{index:03d}{suffix}"
        if mode == "16":
            deep = frame.astype(np.uint16) * 257 + np.arange(side, dtype=np.uint16)[None, :, None]
            assert cv2.imwrite(str(path), deep)
        else:
            image = Image.fromarray(frame)
            if mode in ("RGBA", "LA"):
                image = image.convert(mode)
                image.putalpha(Image.fromarray(frame[:, ::-1, 0].copy()))
            elif mode == "P":
                image = image.quantize(64)
            elif mode == "turned":
                exif = Image.Exif()
                exif[0x0112] = 2 + index % 7
                options = {**options, "exif": exif}
            else:
                image = image.convert(mode)
            image.save(path, form, **options)
        allowed[path.name] = off
    for suffix in CLIPS:
        (folder / f"good{suffix}").write_bytes(clip(suffix))
        allowed[f"good{suffix}"] = 4.0
    return allowed


def output_of(name: str) -> str:
    stem, _, suffix = name.rpartition(".")
    return name if f".{suffix}" in CLIPS else f"{stem}.png"


def run_watched(model: Path, source: Path, out: Path, limit_s: float) -> Ran:
    """``p2p run`` in a process of its own. Its peak memory is read from /proc until it ends."""
    command = [sys.executable, "-m", "p2p_deploy", "run", *map(str, (model, source, out))]
    started, peak = time.perf_counter(), 0
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=out.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        while process.poll() is None:
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) if found else 0)
            if time.perf_counter() - started > limit_s:
                process.kill()
            time.sleep(0.01)
        seconds = time.perf_counter() - started
        texts = []
        for file in (stdout, stderr):
            file.seek(0)
            texts.append(file.read().decode())
    return Ran(process.returncode, *texts, seconds, peak / 1024)


def lines_of(out: Path) -> dict[str, list[dict]]:
    """The lines of the record by input."""
    lines: dict[str, list[dict]] = {}
    for line in read_record(out):
        if "input" in line:
            lines.setdefault(line["input"], []).append(line)
    return lines


def wrong_with_run(ran: Ran, out: Path) -> list[str]:
    """What the process may not do."""
    wrong = [] if ran.code == 1 else [f"exit code {ran.code}"]
    if ran.stderr:
        wrong.append(f"stderr: {ran.stderr[:500]!r}")
    if "Traceback" in ran.stdout:
        wrong.append("a traceback")
    wrong += [f"unprintable {found!r} on stdout" for found in set(NOT_SHOWN.findall(ran.stdout))]
    wrong += [f"left over: {path}" for path in leftovers(out)]
    whole = {Path(line["output"]).name for lines in lines_of(out).values() for line in lines if line["output"]}
    there = {path.name for path in out.iterdir()} - {"p2p-run.jsonl"}
    wrong += [f"outputs and record differ: {name!r}" for name in whole ^ there]
    wrong += [f"{path} holds what it may not" for path in out.rglob("*") if b"root:x:0" in path.read_bytes()]
    return wrong


def wrong_with_hostile(placed: list[Placed], source: Path, out: Path) -> list[str]:
    """What became of hostile files and may not; each has one line with one sentence, or is known to be no input."""
    lines, wrong = lines_of(out), []
    for kind, name, fates in placed:
        mine = lines.get(name, [])
        fate = mine[0]["status"] if mine else "ignored"
        if len(mine) > 1 or fate not in fates:
            wrong.append(f"{kind}: {name!r} is {[line['status'] for line in mine]}, expected one of {fates}")
        if fate in ("failed", "partial"):
            said = str(mine[0]["error"])
            bare = said.removeprefix(str(source / name)).removeprefix(str(out))
            if len(bare) == len(said) or not bare.endswith(".") or "\n" in bare or len(bare) > 400:
                wrong.append(f"{kind}: {said!r} is no sentence about the file")
    return wrong


def wrong_with_good(allowed: dict[str, float], source: Path, out: Path, alone: Path) -> list[str]:
    """Good files whose outputs are missing, are not what they are without bad company, or are not the picture."""
    lines, wrong = lines_of(out), []
    for name, off in allowed.items():
        output = output_of(name)
        if [line["status"] for line in lines.get(name, [])] != ["done"]:
            wrong.append(f"{name}: {lines.get(name)}")
        elif (out / output).read_bytes() != (alone / output).read_bytes():
            wrong.append(f"{name}: another output than in a run without hostile files")
        elif (far := difference(source / name, out / output)) > off:
            wrong.append(f"{name}: {far:.2f} away from what another reader sees")
    return wrong


def difference(path: Path, output: Path) -> float:
    """Mean absolute difference of an output to its input as Pillow, OpenCV (16 bits) or FFmpeg by itself reads it."""
    if path.suffix in CLIPS:
        ours, theirs = frames_of(output), frames_of(path)
    elif (deep := cv2.imread(str(path), cv2.IMREAD_UNCHANGED)) is not None and deep.dtype == np.uint16:
        ours, theirs = np.asarray(Image.open(output).convert("RGB")), deep[:, :, ::-1] / 257
    else:
        with Image.open(path) as image:
            theirs = np.asarray(with_alpha(ImageOps.exif_transpose(image)))
        with Image.open(output) as image:
            ours = np.asarray(with_alpha(image))
    return float("inf") if ours.shape != theirs.shape else float(np.abs(ours - theirs.astype(float)).mean())


def with_alpha(image: Image.Image) -> Image.Image:
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def frames_of(path: Path) -> np.ndarray:
    with av.open(io.BytesIO(path.read_bytes())) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every name below a folder with its size and time of change; links are not followed."""
    found = {}
    for path in folder.rglob("*"):
        state = path.lstat()
        found[str(path.relative_to(folder))] = (state.st_size, state.st_mtime_ns)
    return found


def sentences(placed: list[Placed], source: Path, out: Path) -> dict[str, dict]:
    """Of each kind how many there were, what became of them, and the sentence of the first."""
    lines, table = lines_of(out), {}
    for kind, name, _ in placed:
        mine = lines.get(name)
        row = table.setdefault(kind, {"count": 0, "became": {}, "sentence": None})
        fate = mine[0]["status"] if mine else "ignored"
        row["count"] += 1
        row["became"][fate] = row["became"].get(fate, 0) + 1
        if mine and row["sentence"] is None and mine[0]["error"]:
            row["sentence"] = mine[0]["error"].replace(str(source / name), "IN/…").replace(str(out / "x")[:-1], "OUT/")
    return json.loads(json.dumps(table))
