"""What ``p2p run`` says at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from p2p_deploy.cli._output import printable

if TYPE_CHECKING:
    from p2p_deploy.runner.summary import RunSummary


def where_time_went(summary: RunSummary) -> list[str]:
    """How busy each stage was, and what would make the run quicker."""
    if not summary.frames:
        return []
    images, reading, writing = (summary.codec_seconds[name] for name in ("images", "video in", "video out"))
    busy = {
        "the network": max(summary.infer_seconds) / summary.seconds,
        "decoding and encoding images": sum(images.values()) / summary.workers / summary.seconds,
        "decoding video": sum(reading.values()) / summary.seconds,
        "encoding video": sum(writing.values()) / summary.seconds,
    }
    advice = {
        "the network": "A GPU, half precision or more of --device makes this run quicker",
        "decoding and encoding images": "More cores, or more --workers where the disk is slow, make this run quicker",
        "decoding video": "Several clips at once, in runs of their own, make use of the other cores",
        "encoding video": "Several clips at once, in runs of their own, make use of the other cores",
    }
    shares = ", ".join(f"{name} {share:.0%}" for name, share in busy.items() if share >= 0.005)
    most = max(busy, key=lambda name: busy[name])
    return [
        f"busy: {shares} of the time; batches of {summary.batch}, {summary.workers} codec threads",
        f"{advice[most]}."
        if busy[most] > 0.7
        else "No stage is busy all the time: the disk may be what is waited for.",
    ]


def print_summary(summary: RunSummary) -> None:
    """What was done, what was changed on the way, what failed."""
    print(
        f"{summary.done} of {summary.inputs_total} inputs done: {summary.frames} frames in {summary.seconds:.1f} s, "
        f"{summary.frames_per_second:.1f} images/s"
    )
    for line in where_time_went(summary):
        print(f"  {line}")
    for note, count in sorted(summary.notes.items()):
        print(f"  {count} {note}")
    if summary.skipped:
        print(f"  {summary.skipped} done by an earlier run")
    if summary.ignored:
        print(f"  {summary.ignored} files of other kinds ignored")
    for label, count in (("incomplete", summary.partial), ("failed", summary.failed)):
        if count:
            print(f"  {count} {label}:")
    for name, sentence in summary.errors:
        print(printable(f"    {name}: {sentence}"))
    if summary.record:
        print(f"record: {summary.record}")
