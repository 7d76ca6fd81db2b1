"""``p2p demo``."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from p2p_deploy.cli._output import JsonOptions, ProgressOptions, print_json, progress_bar, quiet_codecs, say
from p2p_deploy.errors import DeviceError, Failed, MissingDependency, OutputError, require
from p2p_deploy.options import ExportOptions, Option, Options, Overwrite, RunOptions

if TYPE_CHECKING:
    from p2p_deploy.demo.crops import L1
    from p2p_deploy.demo.report import DemoReport

STEPS = 1200
BATCH = 4
NGF = 24
# After that many steps the error must be at most this share of what no network at all would reach.
MAX_RATIO = 0.65


@dataclass(frozen=True, kw_only=True)
class DemoOptions(Options):
    """What the demo does."""

    output: Annotated[Path, Option("Folder for everything it writes.", short="o")] = Path("p2p-demo")
    steps: Annotated[int, Option("Training steps; more of them give better colours.", low=1)] = STEPS
    overwrite: Overwrite = False


def demo(options: DemoOptions, output: JsonOptions, shown: ProgressOptions) -> None:
    """Do the whole job on real pictures: train, export, run, measure.

    Trains a network that colours grey photographs, exports it, builds a plan, runs it over the photographs and over a
    clip with sound, and writes a gallery that shows what came out. The pictures come inside installed packages.
    """
    for module in ("torch", "lightning_fabric", "tensorboard"):
        require(module, "train", "The demo")
    folder = options.output
    if folder.exists() and not options.overwrite:
        raise OutputError(
            f"{folder} exists already. Choose another folder, or pass --overwrite to replace what is there."
        )
    quiet_codecs()
    report = run_demo(folder, options.steps, shown.progress)
    (folder / "figures.json").write_text(report.to_json() + "\n", encoding="utf-8")
    if output.as_json:
        print_json(report)
        return
    for name, value in report.lines():
        print(f"{name:26} {value}")
    print("written:")
    for path, note in report.files():
        print(f"  {path!s:40} {note}")


def run_demo(output: Path, steps: int, progress: bool | None) -> DemoReport:
    """Everything from the photographs to the gallery.

    Raises:
        Failed: an input could not be done, the clip that came out is not like the one that went in, or the network
            did not learn.
    """
    from p2p_deploy.benchmark import bench_batch, describe_machine
    from p2p_deploy.demo import clips, crops, photos
    from p2p_deploy.demo.report import DemoReport
    from p2p_deploy.exporter.export import export
    from p2p_deploy.gallery import write_gallery
    from p2p_deploy.runner.models import load
    from p2p_deploy.runner.run import run
    from trainers import Pix2PixOptions, train

    paths, clip = photos.photos(), photos.clip()
    say(f"1/6 cutting training pairs out of {len(photos.TRAINING_PHOTOS)} photographs")
    crops.write_pairs([paths[name] for name in photos.TRAINING_PHOTOS], output / "data", seed=crops.TRAIN_SEED)
    crops.write_inputs(paths, output / "input")
    shutil.copyfile(clip, output / "input" / clip.name)

    say(f"2/6 training a U-Net on crops of {crops.SIZE} x {crops.SIZE} pixels, {steps} steps")
    options = Pix2PixOptions(size=crops.SIZE, batch=BATCH, steps=steps, ngf=NGF, input_channels=1, overwrite=True)
    with progress_bar(progress, "training") as update:
        trained = train(
            "pix2pix",
            output / "data",
            output / "run",
            options,
            on_progress=lambda now: update(now.step, now.steps, f"L1 {now.losses['G_L1']:.3f}"),
        )

    say("3/6 exporting")
    wanted = ExportOptions(dynamic=True, trt=_can_build(), overwrite=True)
    exported = export(trained.checkpoint, output / "model" / "colouring.onnx", wanted)

    source, out = output / "input", output / "output"
    with load(exported.onnx) as model:
        say(f"4/6 running over {len(paths)} photographs and a clip")
        summary = run(model, source, out, RunOptions(overwrite=True))
        if not summary.complete:
            raise Failed(f"Some inputs of the demo failed: {summary.errors}")
        say("5/6 measuring")
        errors = {name: crops.measure(model, path, seed=crops.TEST_SEED) for name, path in paths.items()}
        bench = tuple(bench_batch(model, batch, warmup_ms=300, duration_s=2) for batch in (1, BATCH))

    say("6/6 writing the gallery")
    report = DemoReport(
        folder=output,
        gallery=write_gallery(source, out, spec=exported.spec),
        steps=steps,
        training_seconds=trained.seconds,
        export=exported,
        run=summary,
        errors=errors,
        bench=bench,
        clip_source=clips.clip_facts(source / clip.name),
        clip_output=clips.clip_facts(out / clip.name),
        machine=describe_machine(),
    )
    if report.clip_source != report.clip_output:
        raise Failed(f"The clip that came out has {report.clip_output}; expected {report.clip_source}.")
    check_learnt(report.training_error, steps)
    return report


def check_learnt(error: L1, steps: int) -> None:
    """Raise Failed when a training that was long enough has not reached its bar."""
    if steps >= STEPS and error.network > MAX_RATIO * error.grey:
        raise Failed(f"The network has not learnt to colour: L1 {error}. Expected {MAX_RATIO} of that at most.")


def _can_build() -> bool:
    """Whether a TensorRT that can build a plan here is installed; says what is missing if not."""
    from p2p_deploy.exporter.tensorrt.flavours import find_flavour

    try:
        find_flavour()
    except (MissingDependency, DeviceError) as exc:
        say(f"no plan will be built: {exc}")
        return False
    return True
