"""Compares this build with another checkout of the project: the files that come out, and the speed of runs.

    python benchmarks/against_build.py OTHER --equal     every file byte by byte; exit 1 where one differs
    python benchmarks/against_build.py OTHER --speed     images/s of runs in alternating rounds

Both builds run under this interpreter, through their command lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from against_build_inputs import make_checkpoints, make_inputs
from common import rotated, spread, write_photos, write_result
from helpers.networks import write_identity

from p2p_deploy.benchmark.builtin import export_builtin

HERE = Path(__file__).parents[1]
# Of a record's line: what depends on the clock, or on where the outputs lie.
CLOCK = ("seconds", "input_stamp", "output_stamp")
RUNS = {
    "fixed": ("unet.onnx", "mixed", ()),
    "dynamic": ("dynamic.onnx", "mixed", ()),
    "tiles": ("dynamic.onnx", "mixed", ("--fit", "tile")),
    "resnet pad": ("resnet.onnx", "mixed", ("--fit", "pad")),
    "values": ("values.onnx", "mixed", ()),
    "jpg": ("unet.onnx", "mixed", ("--ext", "jpg", "--quality", "90")),
    "same, recursive": ("unet.onnx", "mixed", ("--ext", "same", "--recursive")),
    "limit": ("unet.onnx", "mixed", ("--limit", "3", "--batch", "2")),
    "checkpoint": ("unet.pt", "mixed", ("--workers", "1")),
    "clip": ("unet.onnx", "clips", ()),
    "clip, dynamic": ("dynamic.onnx", "clips", ("--crf", "30")),
    "labels": ("labels.onnx", "labels", ("--instances", "instances")),
}
EXPORTS = {
    "unet.onnx": ("unet.pt", ()),
    "dynamic.onnx": ("unet.pt", ("--dynamic",)),
    "half.onnx": ("unet.pt", ("--precision", "fp16")),
    "values.onnx": ("unet.pt", ("--io", "float32")),
    "resnet.onnx": ("resnet.pt", ("--dynamic",)),
    "labels.onnx": ("labels.pt", ()),
    "drawing.onnx": ("drawing.pt", ()),
}
# Images of each round, and the batch: what is found out by trying may differ from run to run.
SPEED = {"identity": (2000, 8), "unet_256": (80, 4)}
WORKER = """
import sys, time, p2p_deploy
model = p2p_deploy.load(sys.argv[1])
try:
    options = (p2p_deploy.RunOptions(batch=int(sys.argv[4]), overwrite=True),)
    named = {}
except AttributeError:  # builds before options were classes
    options, named = (), {"batch": int(sys.argv[4]), "overwrite": True}
for _ in sys.stdin:
    started = time.perf_counter()
    frames = p2p_deploy.run(model, sys.argv[2], sys.argv[3], *options, **named).frames
    print(frames / (time.perf_counter() - started), flush=True)
"""


class Build:
    """A checkout, and a folder that it works in."""

    def __init__(self, name: str, root: Path, folder: Path) -> None:
        self.name, self.root, self.folder = name, root.resolve(), folder / name
        self.folder.mkdir()
        self.environment = {**os.environ, "PYTHONPATH": str(self.root)}

    def p2p(self, *words: object) -> subprocess.CompletedProcess[str]:
        """Run its command line in its folder."""
        command = [sys.executable, "-m", "p2p_deploy", *map(str, words)]
        return subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)

    def worker(self, *words: object) -> subprocess.Popen[str]:
        """A process that runs once for each line that it is sent, and answers with images a second."""
        command = [sys.executable, "-c", WORKER, *map(str, words)]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )


def graph_of(path: Path) -> bytes:
    """An ONNX file without the versions that are noted in it."""
    model = onnx.load(path)
    for entry in model.metadata_props:
        if entry.key == "p2p_deploy.spec":
            entry.value = json.dumps({k: v for k, v in json.loads(entry.value).items() if k != "created_with"})
    return model.SerializeToString(deterministic=True)


def line_of(line: dict, folder: Path) -> dict:
    """A line of a record without what depends on the clock or the folder, and with which texts there are, not which."""
    kept = {key: None if key in CLOCK else value for key, value in line.items()}
    if kept.get("output"):
        kept["output"] = os.path.relpath(kept["output"], folder)
    if "error" in kept:
        kept["error"] = bool(kept["error"])
    if "summary" in kept:
        kept["summary"] = sorted(kept["summary"])
    return kept


def contents(folder: Path) -> dict[str, object]:
    """Every file below a folder: bytes, or the lines of a record in order of input."""
    found: dict[str, object] = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.name == "p2p-run.jsonl":
            lines = [line_of(json.loads(line), folder) for line in path.read_text().splitlines()]
            found[path.name] = sorted(lines, key=lambda line: str(line.get("input")))
        else:
            found[path.relative_to(folder).as_posix()] = path.read_bytes()
    return found


def differences(one: dict[str, object], other: dict[str, object]) -> list[str]:
    """What is not the same in two folders, in words."""
    only = [f"only one has {name}" for name in sorted(one.keys() ^ other.keys())]
    return only + [f"{name} differs" for name in sorted(one.keys() & other.keys()) if one[name] != other[name]]


def compare_all(folder: Path, builds: list[Build]) -> dict[str, list[str]]:
    """Every comparison by name, with what differs."""
    found: dict[str, list[str]] = {}
    make_checkpoints(folder)
    make_inputs(folder)
    for build in builds:
        for path in (*folder.glob("*.pt"), folder / "mixed", folder / "clips", folder / "labels", folder / "instances"):
            (build.folder / path.name).symlink_to(path)
    for name, (checkpoint, options) in EXPORTS.items():
        codes = [build.p2p("export", checkpoint, "-o", name, *options).returncode for build in builds]
        graphs = [graph_of(build.folder / name) for build in builds if (build.folder / name).exists()]
        same = codes == [0, 0] and graphs[0] == graphs[1]
        found[f"export {name}"] = [] if same else [f"exit codes {codes}, or the graphs differ"]
    for name, (model, source, options) in RUNS.items():
        results = [build.p2p("run", model, source, f"out {name}", *options, "--json") for build in builds]
        keys = [sorted(json.loads(result.stdout)) if result.stdout else result.stderr for result in results]
        outputs = [contents(build.folder / f"out {name}") for build in builds]
        found[f"run {name}, {len(outputs[0])} files"] = differences(*outputs)
        if results[0].returncode != results[1].returncode or keys[0] != keys[1]:
            found[f"run {name}, {len(outputs[0])} files"].append("exit code or summary")
    for build in builds:
        build.p2p("sample", "drawing.onnx", "drawn", "-n", 5, "--seed", 3)
    found["sample"] = differences(*(contents(build.folder / "drawn") for build in builds))
    for name in (*EXPORTS, "unet.pt", "labels.pt"):
        facts = [json.loads(build.p2p("info", name, "--json").stdout) for build in builds]
        found[f"info {name}"] = [key for key in {*facts[0], *facts[1]} if facts[0].get(key) != facts[1].get(key)]
    return found


def measure(name: str, folder: Path, builds: list[Build], rounds: int) -> dict[str, object]:
    """Images a second of both builds in alternating rounds, and the ratio of each round."""
    count, batch = SPEED[name]
    model = write_identity(folder / "identity.onnx", 256) if name == "identity" else export_builtin(folder)
    photos = folder / f"photos {name}"
    write_photos(photos, count, 256, ".jpg")
    rates: dict[str, list[float]] = {build.name: [] for build in builds}
    with contextlib.ExitStack() as stack:
        workers = {
            build.name: stack.enter_context(build.worker(model, photos, build.folder / name, batch)) for build in builds
        }
        for number in range(-1, rounds):  # the first one warms up
            for which in rotated(list(workers), number % 2):
                process = workers[which]
                assert process.stdin is not None
                assert process.stdout is not None
                print("", file=process.stdin, flush=True)
                rate = float(process.stdout.readline())
                if number >= 0:
                    rates[which].append(rate)
        for process in workers.values():
            assert process.stdin is not None
            process.stdin.close()
    ratios = [new / old for new, old in zip(rates["this"], rates["other"], strict=True)]
    print(f"{name}: {np.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f})", flush=True)
    per_second = {which: spread(values) for which, values in rates.items()}
    return {"images": count, "batch": batch, "images_per_second": per_second, "ratio": spread(ratios)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, help="the other checkout")
    parser.add_argument("--equal", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        builds = [Build("this", HERE, folder), Build("other", arguments.other, folder)]
        if arguments.equal:
            found = compare_all(folder, builds)
            for name, differing in found.items():
                print(f"{'differs' if differing else 'equal  '}  {name}  {'; '.join(differing)}")
            write_result("against_build_equal", {"comparisons": found})
            if any(found.values()):
                sys.exit(1)
        if arguments.speed:
            figures = {name: measure(name, folder, builds, arguments.rounds) for name in SPEED}
            write_result("against_build_speed", figures)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()


if __name__ == "__main__":
    main()
