"""What the demo measured, and how it is told on the terminal and on the page."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.benchmark import BenchResult
from p2p_deploy.demo.clips import ClipFacts
from p2p_deploy.demo.crops import L1
from p2p_deploy.demo.photos import HELD_OUT_PHOTOS, TRAINING_PHOTOS
from p2p_deploy.exporter.report import ExportReport
from p2p_deploy.runner.summary import RunSummary


@dataclass(frozen=True)
class DemoReport:
    """Everything the demo measured.

    Attributes:
        folder: where everything was written.
        steps: training steps.
        training_seconds: wall time of the training.
        export: what was exported, and how it compares with the checkpoint.
        run: what the run over pictures and clip did.
        errors: by photograph, on fresh crops.
        bench: one for each batch size.
        clip: name of the clip.
        clip_source: facts of the source clip.
        clip_output: facts of what was made of it.
        machine: what the figures were measured on.
    """

    folder: Path
    steps: int
    training_seconds: float
    export: ExportReport
    run: RunSummary
    errors: dict[str, L1]
    bench: list[BenchResult]
    clip: str
    clip_source: ClipFacts
    clip_output: ClipFacts
    machine: dict[str, str]

    @property
    def training_error(self) -> L1:
        """The mean over the photographs that crops were trained on."""
        errors = [self.errors[name] for name in TRAINING_PHOTOS]
        return L1(
            network=float(np.mean([error.network for error in errors])),
            grey=float(np.mean([error.grey for error in errors])),
            mean_colour=float(np.mean([error.mean_colour for error in errors])),
        )

    def lines(self) -> list[tuple[str, str]]:
        """(name, value) texts."""
        plan, source, output = self.export.plan, self.clip_source, self.clip_output
        return [
            ("training", f"{self.steps} steps in {self.training_seconds:.0f} s"),
            ("L1 on fresh crops", str(self.training_error)),
            *((f"L1, {name}, held out", str(self.errors[name])) for name in HELD_OUT_PHOTOS),
            ("ONNX against checkpoint", str(self.export.quality)),
            ("TensorRT plan", f"{plan.flavour}; {plan.precision}; not executed here" if plan else "not built"),
            ("run", f"{self.run.frames} frames in {self.run.seconds:.1f} s, {self.run.frames_per_second:.1f} images/s"),
            *(
                (
                    f"inference alone, batch {result.batch}",
                    f"{result.images_per_second:.1f} images/s, p50 {result.latency_ms.p50:.1f} ms",
                )
                for result in self.bench
            ),
            ("clip, frames", f"{output.frames} of {source.frames}"),
            ("clip, seconds", f"{float(output.seconds):.3f} of {float(source.seconds):.3f}"),
            ("clip, audio packets", f"{output.audio_packets} of {source.audio_packets}"),
            ("machine", f"{self.machine['processor']}, {self.machine['cores']} cores"),
        ]

    def files(self) -> list[tuple[Path, str]]:
        """(path, what it is) of everything that was written."""
        folder, plan = self.folder, self.export.plan
        return [
            (folder / "index.html", "the page with all of this"),
            (folder / "figures.json", "these figures"),
            (folder / "run" / "ckpt.pt", "checkpoint"),
            (folder / "run" / "samples", "grey, output, target during training"),
            (folder / "run" / "tensorboard", "losses, for TensorBoard"),
            (self.export.onnx, "FP32 ONNX: p2p run FILE IN OUT"),
            *([(plan.onnx, "FP16 ONNX"), (plan.plan, "TensorRT plan"), (plan.sidecar, "its sidecar")] if plan else []),
            (folder / "data", "training pairs"),
            (folder / "input", "photographs in colour and in grey, and the clip"),
            (folder / "output", "what became of them, and p2p-run.jsonl"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        clip = {
            side: {**asdict(facts), "seconds": float(facts.seconds)}
            for side, facts in (("source", self.clip_source), ("output", self.clip_output))
        }
        return {
            "training": {"steps": self.steps, "seconds": self.training_seconds},
            "L1": {name: asdict(error) for name, error in self.errors.items()},
            "L1_training_photographs": asdict(self.training_error),
            "held_out": list(HELD_OUT_PHOTOS),
            "export": self.export.to_dict(),
            "run": self.run.to_dict(),
            "bench": [result.to_dict() for result in self.bench],
            "clip": {"name": self.clip, **clip},
            "machine": self.machine,
            "files": [str(path) for path, _ in self.files()],
        }
