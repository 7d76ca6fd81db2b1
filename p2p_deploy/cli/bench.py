"""``p2p bench``."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer

from p2p_deploy.cli._models import is_plan, open_model
from p2p_deploy.cli._options import Device, Json, TrustPlan, print_json, say


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MODEL]...", help="Models to measure. Default: a U-Net 256, ngf 64, exported for it."),
    ] = None,
    device: Device = "auto",
    batch: Annotated[list[int] | None, typer.Option("--batch", min=1, help="Batch size; repeatable.")] = None,
    warmup_ms: Annotated[float, typer.Option("--warmup-ms", min=0, help="Untimed running first, milliseconds.")] = 500,
    duration_s: Annotated[
        float, typer.Option("--duration-s", min=0, help="Timed running for each batch size, seconds.")
    ] = 3,
    trust_plan: TrustPlan = False,
    as_json: Json = False,
) -> None:
    """Measure latency and throughput of inference alone: frames in memory to frames in memory.

    A percentile is shown only where the samples carry it: p90 from 10, p99 from 100.
    """
    from p2p_deploy.benchmark import bench_model, describe_machine
    from p2p_deploy.benchmark.builtin import export_builtin

    batches = batch or [1, 4, 8]
    results: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        if not models:
            say("… exporting the built-in U-Net 256")
            models = [export_builtin(Path(folder))]
        some_plan = any(map(is_plan, models))  # beside which the option may be given for the other models too
        for path in models:
            trusted = trust_plan and (is_plan(path) or not some_plan)
            with open_model(path, device, trust_plan=trusted) as backend:
                for size in batches:
                    result = bench_model(backend, size, warmup_ms=warmup_ms, duration_s=duration_s)
                    results.append({"model": path.name, **result})
                    if not as_json:
                        print_result(results[-1], first=len(results) == 1)
    if as_json:
        print_json({"machine": describe_machine(), "results": results})
    else:
        print("  ".join(f"{key} {value}" for key, value in describe_machine().items()))


def print_result(result: dict[str, Any], first: bool) -> None:
    """A row of the table; ``first`` puts the header above it."""
    if first:
        columns = " ".join(f"{name:>8}" for name in ("p50 ms", "p90 ms", "p99 ms", "mean ms"))
        print(f"{'model':24} {'runtime':22} {'batch':>5} {columns} {'images/s':>9}")
    latency = result["latency_ms"]
    cells = [f"{latency[key]:8.1f}" if latency.get(key) is not None else f"{'-':>8}" for key in ("p50", "p90", "p99")]
    print(
        f"{result['model'][:24]:24} {result['backend'] + ' ' + result['device']:22} {result['batch']:5} "
        f"{' '.join(cells)} {latency['mean']:8.1f} {result['images_per_second']:9.2f}  ({latency['samples']} samples)"
    )
