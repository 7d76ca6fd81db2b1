"""One page about a run: its curves and samples, in one HTML file that loads nothing from anywhere."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from p2p_deploy.files import replacing
from trainers.health import SAMPLES
from trainers.launch import LOGS

REPORT = "report.html"
_SHOWN = 6  # samples, evenly spaced through the run, the last one among them
_POINTS = 2000  # of a curve
_PAGE = Path(__file__).with_suffix(".html")


def write_report(run: Path, notes: Mapping[str, Any]) -> Path:
    """Write ``run/report.html`` from the logs and samples of a run.

    Args:
        run: the folder of the run.
        notes: what its checkpoint notes: system, step, losses, measures, options.

    Raises:
        OutputError: the page cannot be written.
    """
    curves = read_curves(run)
    groups = {
        "Losses": [name for name in curves if name != "learning_rate" and not name.startswith("val_")],
        **{f"Held-out pictures: {name[4:]}": [name] for name in curves if name.startswith("val_")},
        "Learning rate": [name for name in curves if name == "learning_rate"],
    }
    figures = [
        _figure(title, _draw({name: curves[name] for name in names}), "curve", "svg+xml")
        for title, names in groups.items()
        if names
    ]
    samples = sorted((run / SAMPLES).glob("step-*.png"))
    for path in _spaced(samples):
        figures.append(_figure(f"Step {int(path.stem[5:]):,}: {path.name}", path.read_bytes(), "sample", "png"))
    facts = {
        "system": notes["system"],
        "steps": f"{notes['step']:,}",
        **{name: f"{value:.4g}" for name, value in {**notes["losses"], **notes["measures"]}.items()},
        "options": ", ".join(f"{name} {value}" for name, value in notes["options"].items()),
    }
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(fact))}</td></tr>" for name, fact in facts.items()
    )
    title = html.escape(f"{notes['system']}: {run.name}")
    template = Template(_PAGE.read_text(encoding="utf-8"))
    page = template.substitute(title=title, facts=rows, figures="\n".join(figures))
    with replacing(run / REPORT) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return run / REPORT


def read_curves(run: Path) -> dict[str, list[tuple[int, float]]]:
    """(step, value) of every scalar in the logs, of the last run over each step."""
    logs = EventAccumulator(str(run / LOGS), size_guidance={"scalars": 0}).Reload()
    found: dict[str, list[tuple[int, float]]] = {}
    for name in logs.Tags()["scalars"]:
        values = {event.step: event.value for event in logs.Scalars(name)}
        found[name] = sorted(values.items())
    return found


def _draw(curves: Mapping[str, Sequence[tuple[int, float]]]) -> bytes:
    """A plot as SVG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.2), layout="constrained")
    axes = figure.subplots()
    for name, points in curves.items():
        thinned = points[:: max(1, len(points) // _POINTS)]
        axes.plot(*zip(*thinned, strict=True), label=name, linewidth=1, marker="." if len(points) < 20 else None)
    axes.set_xlabel("step")
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend(fontsize="small", ncols=3)
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def _figure(title: str, data: bytes, kind: str, subtype: str) -> str:
    source = base64.b64encode(data).decode("ascii")
    caption = html.escape(title)
    return (
        f'<figure><figcaption>{caption}</figcaption><img class="{kind}" alt="{caption}" '
        f'src="data:image/{subtype};base64,{source}"></figure>'
    )


def _spaced(samples: Sequence[Path]) -> list[Path]:
    if len(samples) <= _SHOWN:
        return list(samples)
    return [samples[round(index * (len(samples) - 1) / (_SHOWN - 1))] for index in range(_SHOWN)]
