"""Checkpoints of every family, from file to FP16 plan without a flag.

Real files (tests/fixtures) of pytorch-CycleGAN-and-pix2pix, pix2pixHD and PyTorch-GAN; files of the published layouts
and widths, with random weights whose output varies, for the networks that take labels and instances. Judged on eight
photographs, or on label maps drawn after them; FP16 by emulation; plans from the real builder.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch
from common import RESULTS, write_result
from export_table import MIB
from helpers.networks import vary_output

from p2p_deploy.checkpoints.families import recognise
from p2p_deploy.exporter.export import export
from p2p_deploy.exporter.quality import check_inputs
from p2p_deploy.generators import build_generator
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.options import Assumptions, ExportOptions
from p2p_deploy.spec import ModelSpec

TESTS = Path(__file__).parent.parent / "tests"
import layouts  # noqa: E402

FIXTURES = TESTS / "fixtures" / "checkpoints"
SIZE = (256, 512)
PUBLISHED = {
    "pix2pixHD global, Cityscapes": layouts.resnet(downs=4, into=36),
    "pix2pixHD local enhancer, Cityscapes": layouts.local_enhancer(36, downs=4),
    "SPADE, Cityscapes": layouts.spade(36, form=None),
}


def fixture(folder: Path, out: Path) -> Path:
    """The file of a fixture, or the one that its recipe stands for."""
    if not (folder / "seeded.json").exists():
        return next(folder.glob("*.pth"))
    recipe = json.loads((folder / "seeded.json").read_text())
    chance = torch.Generator().manual_seed(recipe["seed"])
    weights = {key: torch.randn(shape, generator=chance) * 0.02 for key, (shape, _) in recipe["shapes"].items()}
    torch.save(weights, out / recipe["file"])
    return out / recipe["file"]


def published(table: dict, out: Path) -> Path:
    """A file with the keys and shapes of ``table``."""
    torch.manual_seed(0)
    found, _ = recognise({key: torch.empty(shape, device="meta") for key, shape in table.items()}, Assumptions())
    generator = build_generator(found.arch, found.arch_kwargs)
    spec = ModelSpec("x", found.arch, {}, found.inputs, found.output, 1, 1, SIZE, SIZE)
    maps = [torch.from_numpy(array[:2]) for array in check_inputs(spec)]
    weights = vary_output(generator, FrameModel(generator, spec).values(*maps)).state_dict()
    torch.save({theirs: weights[ours] for theirs, ours in found.layers.renamed.items()}, out / "latest_net_G.pth")
    return out / "latest_net_G.pth"


def row(name: str, source: Path, folder: Path, size: tuple[int, int]) -> dict:
    started = time.perf_counter()
    report = export(source, folder / "x.onnx", ExportOptions(trt=True, sizes=(size,)))
    assert report.plan is not None
    return {
        "file": name,
        "recognised": report.family,
        "size": f"{size[0]}x{size[1]}",
        "parameters_m": round(sum(value.numel() for value in torch.load(source, weights_only=True).values()) / 1e6, 1),
        "reference_std": round(report.quality.reference_std, 1),
        "fp32_max_levels": report.quality.max_levels,
        "fp16_psnr_db": round(report.plan.quality.psnr_db, 1),
        "fp16_max_levels": report.plan.quality.max_levels,
        "half_share": round(report.plan.precision.half_share, 4),
        "plan_mib": round(report.plan.plan.stat().st_size / MIB, 1),
        "plan_seconds": round(report.plan.seconds, 1),
        "export_seconds": round(time.perf_counter() - started, 1),
        "flavour": report.plan.flavour,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    rows = []
    for name in [*sorted(folder.name for folder in FIXTURES.iterdir()), *PUBLISHED]:
        with tempfile.TemporaryDirectory() as text:
            folder = Path(text)
            known = name in PUBLISHED
            source = published(PUBLISHED[name], folder) if known else fixture(FIXTURES / name, folder)
            rows.append(row(name, source, folder, SIZE if known else (256, 256)))
            print(rows[-1], flush=True)
    write_result("families", {"rows": rows})
    columns = [key for key in rows[0] if key not in ("reference_std", "flavour")]
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(found[key]) for key in columns) + " |" for found in rows]
    (RESULTS / "families.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
