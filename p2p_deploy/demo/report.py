"""What the demo measured, and how it is told on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from p2p_deploy.benchmark import BenchResult
from p2p_deploy.demo.clips import ClipFacts
from p2p_deploy.demo.crops import L1
from p2p_deploy.demo.photos import TRAINING_PHOTOS
from p2p_deploy.exporter.report import ExportReport
from p2p_deploy.reports import Report
from p2p_deploy.runner.summary import RunSummary


@dataclass(frozen=True)
class DemoReport(Report):
    """Everything the demo measured.

    Attributes:
        folder: where everything was written.
        gallery: the page with all pictures and the clip.
        steps: training steps.
        training_seconds: wall time of the training.
        export: what was exported, and how it compares with the checkpoint.
        run: what the run over pictures and clip did.
        errors: by photograph, on fresh crops.
        bench: one for each batch size.
        clip_source: facts of the source clip.
        clip_output: facts of what was made of it.
        machine: what the figures were measured on.
    """

    folder: Path
    gallery: Path
    steps: int
    training_seconds: float
    export: ExportReport
    run: RunSummary
    errors: Mapping[str, L1]
    bench: tuple[BenchResult, ...]
    clip_source: ClipFacts
    clip_output: ClipFacts
    machine: Mapping[str, str]

    @property
    def training_error(self) -> L1:
        """The mean over the photographs that crops were trained on."""
        errors = [self.errors[name] for name in TRAINING_PHOTOS]
        return L1(*(sum(getattr(error, side) for error in errors) / len(errors) for side in ("network", "grey")))

    def lines(self) -> list[tuple[str, str]]:
        """(name, value) texts."""
        plan = self.export.plan
        return [
            ("training", f"{self.steps} steps in {self.training_seconds:.0f} s"),
            *((f"L1, {name}", str(error)) for name, error in self.errors.items()),
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
            ("clip, before", str(self.clip_source)),
            ("clip, after", str(self.clip_output)),
            ("machine", f"{self.machine['processor']}, {self.machine['cores']} cores"),
        ]

    def files(self) -> list[tuple[Path, str]]:
        """(path, what it is) of everything that was written."""
        folder, plan = self.folder, self.export.plan
        return [
            (self.gallery, "grey before, coloured after: open it in a browser"),
            (self.gallery.parent, "the coloured pictures and the clip"),
            (folder / "input", "what they were made of"),
            (folder / "run" / "ckpt.pt", "checkpoint"),
            (folder / "run" / "report.html", "losses and samples of the training"),
            (self.export.onnx, "FP32 ONNX: p2p run FILE IN OUT"),
            *([(plan.onnx, "FP16 ONNX"), (plan.plan, "TensorRT plan"), (plan.sidecar, "its sidecar")] if plan else []),
            (folder / "data", "training pairs"),
            (folder / "figures.json", "these figures"),
        ]
