"""``run``: a model over a folder of images and videos; the work itself is in ``scheduler``."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from p2p_deploy import latents
from p2p_deploy.backends.base import Model
from p2p_deploy.media import ReadOptions, WriteOptions, codec_lines, is_video
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import tasks
from p2p_deploy.runner.device import Device
from p2p_deploy.runner.fitting import FitPlanner
from p2p_deploy.runner.jobs import JobList, list_jobs, pipe_job
from p2p_deploy.runner.record import RECORD_NAME, RunRecord
from p2p_deploy.runner.resume import remove_leftovers, without_what_is_done
from p2p_deploy.runner.scheduler import Scheduler
from p2p_deploy.runner.summary import RunProgress, RunSummary
from p2p_deploy.runner.threads import Inbox, taking_turns
from p2p_deploy.runner.tracker import Tracker


def run(
    model: Model | Sequence[Model],
    source: str | Path,
    out: str | Path,
    options: RunOptions = RunOptions(),
    *,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> RunSummary:
    """Run a model over an image, a video, or a folder of both.

    An output appears under its name only when it is complete. ``out/p2p-run.jsonl`` gets a line for each input and one
    for the whole run.

        >>> import p2p_deploy
        >>> with p2p_deploy.load("facades.onnx") as model:
        ...     summary = p2p_deploy.run(model, "photos", "out", p2p_deploy.RunOptions(ext="jpg"))
        >>> summary.done, summary.failed
        (2, 0)

    Args:
        model: what ``p2p_deploy.load`` gave; or several of one file, on several devices, that share the work.
        source: an image, a video, a folder, or a pattern such as ``photos/**/*.jpg``; see ``jobs.list_jobs``.
        out: the output folder, or the output file for a single input. With ``options.raw``, frames go from standard
            input to standard output, and ``source`` and ``out`` are not looked at.
        options: how to go about it.
        on_progress: called from this thread whenever something was finished.
        cancel: set it from anywhere to stop: what is under way is finished, the rest is left alone.

    Returns:
        The summary. Inputs that fail are counted in it and do not raise.

    Raises:
        InputError, OutputError: nothing was done, and why.
        Failed: a stage or the device failed; outputs that were finished by then are complete and recorded.
    """
    models = [model] if isinstance(model, Model) else list(model)
    spec = models[0].spec
    latents.refuse_pictures(spec)
    tasks.check_instances(spec, Path(source), options.instances)
    read = ReadOptions(options.max_pixels, deep=spec.input.dtype == "float32", raw=options.raw)
    write = WriteOptions(options.quality, options.codec, options.crf)
    planner = FitPlanner.for_model(models[0], options.fit)
    jobs = pipe_job() if options.raw else list_jobs(Path(source), Path(out), options)
    fingerprint = models[0].fingerprint() if jobs.folder else ""
    stamps = functools.partial(tasks.input_stamp, instances=options.instances)
    if options.resume:
        remove_leftovers(jobs)
        jobs = without_what_is_done(jobs, fingerprint, stamps)
    _check_codecs(jobs, options)
    inbox = Inbox()
    devices = [Device(each, options.batch, planner, inbox) for each in models]  # one that refuses leaves no record
    record = RunRecord(jobs.folder / RECORD_NAME if jobs.folder else None)
    tracker = Tracker(jobs, record, models[0].size, fingerprint, stamps)
    try:
        scheduler = Scheduler(jobs, devices, planner, tracker, options, read, write, inbox, cancel or threading.Event())
        with codec_lines.caught(), taking_turns(opencv_alone=jobs.stills < 2):
            execution = scheduler.run(lambda: on_progress(tracker.progress()))
        summary = tracker.summary(execution)
        record.append({"summary": summary.to_dict()})
    finally:
        record.close()
    return summary


def _check_codecs(jobs: JobList, options: RunOptions) -> None:
    """Refuse what was asked for videos where one of them could not be written like that."""
    if options.codec or options.crf is not None:
        from p2p_deploy.media.video.encoders import check_codec  # loads FFmpeg

        for suffix in {job.output.suffix for job in jobs if is_video(job.output)}:
            check_codec(suffix, options.codec, options.crf)
