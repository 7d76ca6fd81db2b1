"""``p2p bench``."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from p2p_deploy.cli._output import JsonOptions, print_json, say
from p2p_deploy.options import BenchOptions, LoadOptions

if TYPE_CHECKING:
    from p2p_deploy.benchmark import BenchResult


def bench(
    models: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[MODEL]...", help="Models to measure. Default: a U-Net 256, ngf 64, exported for it."),
    ] = None,
    *,
    options: BenchOptions,
    loading: LoadOptions,
    output: JsonOptions,
) -> None:
    """Measure latency and throughput of inference alone: frames in memory to frames in memory.

    A percentile is shown only where the samples carry it: p90 from 10, p99 from 100.
    """
    from p2p_deploy.backends import runtime_of
    from p2p_deploy.benchmark import BenchReport, bench as measure, describe_machine
    from p2p_deploy.benchmark.builtin import export_builtin
    from p2p_deploy.runner.models import load

    results: list[BenchResult] = []

    def show(result: BenchResult) -> None:
        results.append(result)
        if not output.as_json:
            print_result(result, first=len(results) == 1)

    with tempfile.TemporaryDirectory(prefix="p2p-bench-") as folder:
        if not models:
            say("… exporting the built-in U-Net 256")
            models = [export_builtin(Path(folder))]
        plans = [path for path in models if runtime_of(path) == "tensorrt"]
        for path in models:
            # Beside a plan, what is for plans may be given for the other models too.
            about_plans = path in plans or not plans
            own = loading if about_plans else replace(loading, trust_plan=False, rebuild=False)
            with load(path, own, on_step=lambda step: say(f"… {step}")) as model:
                measure(model, options, on_result=show)
    if output.as_json:
        print_json(BenchReport(describe_machine(), tuple(results)))
    else:
        print("  ".join(f"{key} {value}" for key, value in describe_machine().items()))


def print_result(result: BenchResult, first: bool) -> None:
    """A row of the table; ``first`` puts the header above it."""
    if first:
        columns = " ".join(f"{name:>8}" for name in ("p50 ms", "p90 ms", "p99 ms", "mean ms"))
        print(f"{'model':24} {'runtime':22} {'batch':>5} {columns} {'images/s':>9}")
    latency = result.latency_ms
    cells = [f"{value:8.1f}" if value is not None else f"{'-':>8}" for value in (latency.p50, latency.p90, latency.p99)]
    print(
        f"{result.model[:24]:24} {result.backend + ' ' + result.device:22} {result.batch:5} "
        f"{' '.join(cells)} {latency.mean:8.1f} {result.images_per_second:9.2f}  ({latency.samples} samples)"
    )
