"""What exports of the published networks are like: quality, share in half, sizes, build times.

Random weights whose output varies like a trained network's; eight photographs; FP16 judged by emulation; plans from the
real builder, at a fixed size and for any size.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, photo_frames, write_result
from helpers.networks import vary_output

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.exporter.export import export
from p2p_deploy.generators import build_generator
from p2p_deploy.options import ExportOptions
from p2p_deploy.spec import ImageSpec, ModelSpec

NETWORKS = {
    "U-Net 256, BatchNorm": ("unet", {"num_downs": 8}, 256),
    "U-Net 256, InstanceNorm": ("unet", {"num_downs": 8, "norm": "instance"}, 256),
    "U-Net 256, InstanceNorm, up-sampling head": ("unet_upsample", {}, 256),
    "U-Net 128, BatchNorm": ("unet", {"num_downs": 7}, 128),
    "U-Net 128, InstanceNorm": ("unet", {"num_downs": 7, "norm": "instance"}, 128),
    "ResNet 9 blocks, 256": ("resnet", {"n_blocks": 9}, 256),
    "ResNet 6 blocks, 128": ("resnet", {"n_blocks": 6}, 128),
}
MIB = 2**20


def checkpoint(folder: Path, arch: str, arguments: dict, size: int) -> Path:
    torch.manual_seed(0)
    frames = photo_frames(4, size)
    x = torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float() / 127.5 - 1
    generator = vary_output(build_generator(arch, arguments), x)
    image = ImageSpec.for_channels(3)
    spec = ModelSpec(
        name=arch,
        arch=arch,
        arch_kwargs=arguments,
        inputs=(image,),
        output=image,
        size_multiple=generator.size_multiple,
        min_size=generator.min_size,
        train_size=(size, size),
    )
    save_checkpoint(folder / "ckpt.pt", spec, generator, {})
    return folder / "ckpt.pt"


def row(name: str, dynamic: bool) -> dict:
    with tempfile.TemporaryDirectory() as folder:
        source = checkpoint(Path(folder), *NETWORKS[name])
        started = time.perf_counter()
        report = export(source, Path(folder) / "x.onnx", ExportOptions(trt=True, dynamic=dynamic))
        seconds = time.perf_counter() - started
        plan = report.plan
        return {
            "network": name,
            "size": "any" if dynamic else f"{NETWORKS[name][2]}x{NETWORKS[name][2]}",
            "fp32_max_levels": report.quality.max_levels,
            "reference_std": round(report.quality.reference_std, 1),
            "fp16_psnr_db": round(plan.quality.psnr_db, 1),
            "fp16_ssim": round(plan.quality.ssim, 4),
            "fp16_max_levels": plan.quality.max_levels,
            "fp16_non_finite": plan.quality.non_finite,
            "half_share": round(plan.precision.half_share, 4),
            "onnx_mib": round(report.onnx.stat().st_size / MIB, 1),
            "fp16_onnx_mib": round(plan.onnx.stat().st_size / MIB, 1),
            "plan_mib": round(plan.plan.stat().st_size / MIB, 1),
            "plan_seconds": round(plan.seconds, 2),
            "export_seconds": round(seconds, 1),
            "flavour": plan.flavour,
        }


def markdown(rows: list[dict]) -> str:
    columns = {
        "network": "network",
        "size": "size",
        "fp32_max_levels": "FP32, max levels",
        "fp16_psnr_db": "FP16, PSNR dB",
        "fp16_max_levels": "FP16, max levels",
        "half_share": "MACs in half",
        "onnx_mib": "ONNX MiB",
        "plan_mib": "plan MiB",
        "plan_seconds": "plan built in s",
        "export_seconds": "all in s",
    }
    lines = ["| " + " | ".join(columns.values()) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(found[key]) for key in columns) + " |" for found in rows]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.parse_args()
    rows = []
    for name in NETWORKS:
        for dynamic in (False, True):
            rows.append(row(name, dynamic))
            print(rows[-1], flush=True)
    write_result("export_table", {"rows": rows})
    (RESULTS / "export_table.md").write_text(markdown(rows))


if __name__ == "__main__":
    main()
