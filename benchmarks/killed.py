"""A run that is killed at 30 moments, and gone on with: is any file ever half there, and is the end the same?"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av
import numpy as np
from common import photo_frames, spread, write_result
from helpers.networks import vary_output

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.exporter.export import export
from p2p_deploy.generators import build_generator
from p2p_deploy.media.image.files import encode_image
from p2p_deploy.options import ExportOptions
from p2p_deploy.spec import ImageSpec, ModelSpec

ROOT = Path(__file__).parent.parent
IMAGES, SIZE = 240, 256
CLIPS, FRAMES, CLIP_SIZE = 6, 24, 128  # x264 itself does not always write the same below 96 pixels
RECORD = "p2p-run.jsonl"
LIMIT_S = 120


def write_model(folder: Path) -> Path:
    """A small U-Net of random weights that takes some milliseconds a picture."""
    import torch

    torch.manual_seed(0)
    spec = ModelSpec(
        "small",
        "unet",
        {"num_downs": 6, "ngf": 8},
        (ImageSpec.for_channels(3),),
        ImageSpec.for_channels(3),
        64,
        64,
        (SIZE, SIZE),
        (SIZE, SIZE),
    )
    x = torch.from_numpy(photo_frames(4, SIZE)).permute(0, 3, 1, 2).float() / 127.5 - 1
    save_checkpoint(folder / "small.pt", spec, vary_output(build_generator(spec.arch, spec.arch_kwargs), x), {})
    return export(folder / "small.pt", folder / "small.onnx", ExportOptions()).onnx


def write_inputs(folder: Path) -> int:
    """Pictures, and among them clips; how many files there are."""
    folder.mkdir()
    for index, frame in enumerate(photo_frames(IMAGES, SIZE)):
        (folder / f"{index:03d}.png").write_bytes(encode_image(frame, ".png"))
    frames = photo_frames(FRAMES, CLIP_SIZE)
    for index in range(CLIPS):
        suffix = (".mp4", ".mkv")[index % 2]
        with av.open(str(folder / f"{(index + 1) * IMAGES // (CLIPS + 1):03d}-clip{suffix}"), "w") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.height = stream.width = CLIP_SIZE
            stream.pix_fmt = "yuv420p"
            for frame in np.roll(frames, index, axis=0):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    return IMAGES + CLIPS


class Trial:
    """One output folder, and the runs over it."""

    def __init__(self, model: Path, source: Path, out: Path, whole: dict[str, bytes]) -> None:
        self.model, self.source, self.out, self.whole = model, source, out, whole
        self.said = out.with_suffix(".log")

    def start(self, *options: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "p2p_deploy", "run", *map(str, (self.model, self.source, self.out)), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with self.said.open("wb") as said:
            return subprocess.Popen(command, stdout=said, stderr=said, env=environment)

    def finish(self, *options: str) -> float:
        """Run to the end; seconds."""
        started = time.perf_counter()
        code = self.start(*options).wait(LIMIT_S)
        assert code == 0, f"exit code {code}: {self.said.read_text()}"
        return time.perf_counter() - started

    def stop(self, lines: int, after_s: float, number: signal.Signals, *options: str) -> dict:
        """Start, and send a signal a moment after the record has so many lines."""
        process = self.start(*options)
        deadline = time.monotonic() + LIMIT_S
        while self.lines() < lines:
            assert process.poll() is None, f"it ended by itself: {self.said.read_text()}"
            assert time.monotonic() < deadline, "it hangs"
            time.sleep(0.001)
        time.sleep(after_s)
        process.send_signal(number)
        code = process.wait(LIMIT_S)
        names = [path.name for path in self.out.iterdir()] if self.out.exists() else []
        temporary = [name for name in names if name.startswith(".")]
        return {
            "signal": number.name,
            "exit_code": code,
            "asked_at_lines": lines,
            "lines": self.lines(),
            "files_done": len(names) - len(temporary) - (RECORD in names),
            "temporary_images": sum(name.endswith(".png") for name in temporary),
            "temporary_clips": sum(not name.endswith(".png") for name in temporary),
            "all_whole": self.unlike_whole() == [],
        }

    def lines(self) -> int:
        try:
            return (self.out / RECORD).read_bytes().count(b"\n")
        except FileNotFoundError:
            return 0

    def unlike_whole(self) -> list[str]:
        """Files under a final name that are not what the undisturbed run wrote."""
        paths = [path for path in self.out.iterdir() if path.name[0] != "." and path.name != RECORD]
        return [path.name for path in paths if path.read_bytes() != self.whole.get(path.name)]

    def end(self) -> dict:
        """Go on to the end, and hold what is there against the undisturbed run."""
        seconds = self.finish("--resume")
        last = {}
        for line in (self.out / RECORD).read_text().splitlines():
            with_input = json.loads(line) if line.startswith('{"input"') and line.endswith("}") else {}
            last[with_input.get("input")] = with_input.get("status")
        last.pop(None, None)
        names = {path.name for path in self.out.iterdir()} - {RECORD}
        return {
            "resume_s": round(seconds, 3),
            "all_equal": names == set(self.whole) and not self.unlike_whole(),
            "record_says_all_done": set(last.values()) == {"done"} and len(last) == len(self.whole),
        }


def main() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background of a script, and by its runs
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--moments", type=int, default=30, help="at how many the run is killed")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    random = np.random.default_rng(arguments.seed)
    rows: list[dict] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = write_model(folder)
        total = write_inputs(folder / "in")
        whole: dict[str, bytes] = {}
        reference = Trial(model, folder / "in", folder / "whole", whole)
        undisturbed = [reference.finish()]
        whole |= {path.name: path.read_bytes() for path in (folder / "whole").iterdir() if path.name != RECORD}
        assert len(whole) == total
        print(f"undisturbed: {total} files, {undisturbed[0]:.1f} s", flush=True)

        def moment(share: float) -> tuple[int, float]:
            return round(share * total), float(random.uniform(0, 0.03))

        def trial(title: str, *stops: tuple) -> None:
            each = Trial(model, folder / "in", folder / "out", whole)
            stopped = [each.stop(*stop) for stop in stops]
            row = {"title": title, "stops": stopped, **each.end()}
            rows.append(row)
            shutil.rmtree(folder / "out")
            done = ", ".join(str(stop["files_done"]) for stop in stopped)
            ok = row["all_equal"] and row["record_says_all_done"] and all(stop["all_whole"] for stop in stopped)
            row["ok"] = ok and all(stop["exit_code"] in (130, -signal.SIGKILL) for stop in stopped)
            verdict = "ok" if row["ok"] else row
            print(f"{title}: {done} files done, resumed in {row['resume_s']:.1f} s, {verdict}", flush=True)

        kill, count = signal.SIGKILL, arguments.moments
        for index in range(count):
            share = 0.05 + 0.9 * (index + random.random()) / count
            trial(f"killed at {share:.0%}", (*moment(share), kill))
        trial("killed twice", (*moment(0.3), kill), (*moment(0.7), kill, "--resume"))
        trial("killed 0.6 s into resuming", (*moment(0.5), kill), (0, 0.6, kill, "--resume"))
        later = ((*moment(share), kill, "--resume") for share in (0.5, 0.8))
        trial("killed three times", (*moment(0.2), kill), *later)
        for number in (signal.SIGTERM, signal.SIGINT):
            trial(number.name, (*moment(0.4), number))
        undisturbed.append(Trial(model, folder / "in", folder / "again", whole).finish())
    wrong = [row for row in rows if not row["ok"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} came to the same end")
    if wrong:
        raise SystemExit(1)
    write_result(
        "killed",
        {
            "files": {"images": IMAGES, "clips": CLIPS, "frames_each": FRAMES},
            "undisturbed_s": undisturbed,
            "resume_s": spread([row["resume_s"] for row in rows]),
            "kills_with_a_clip_half_written": sum(row["stops"][0]["temporary_clips"] > 0 for row in rows),
            "trials": rows,
        },
    )


if __name__ == "__main__":
    main()
