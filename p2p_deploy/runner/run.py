"""``run``: a model over a folder of images and videos; the work itself is in ``scheduler``."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from p2p_deploy import latents
from p2p_deploy.backends.base import Model
from p2p_deploy.media import ReadOptions, WriteOptions, codec_lines, is_video
from p2p_deploy.runner import tasks
from p2p_deploy.runner.device import Device
from p2p_deploy.runner.fitting import Fit, FitPlanner
from p2p_deploy.runner.jobs import JobList, list_jobs, pipe_job
from p2p_deploy.runner.options import RunOptions
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
    *,
    batch: int | None = None,
    workers: int | None = None,
    fit: Fit = "auto",
    fail_fast: bool = False,
    ext: str = "png",
    limit: int | None = None,
    read: ReadOptions = ReadOptions(),
    write: WriteOptions = WriteOptions(),
    recursive: bool = False,
    overwrite: bool = False,
    resume: bool = False,
    instances: str | Path | None = None,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
    cancel: threading.Event | None = None,
) -> RunSummary:
    """Run a model over an image, a video, or a folder of both.

    An output appears under its name only when it is complete. ``out/p2p-run.jsonl`` gets a line for each input and one
    for the whole run.

    Args:
        model: what ``p2p_deploy.load`` gave; or several of one file, on several devices, that share the work.
        source: an image, a video or a folder.
        out: the output folder, or the output file for a single input; see ``jobs.list_jobs``.
        batch: images computed at once; None finds out what is quickest.
        workers: threads that decode and encode images; None takes one a core.
        fit: ``resize`` every picture to the model's size and its output back; ``pad`` by reflection to the next size
            the model takes, and cut back; ``tile``; or ``auto``: resize for a model of one size, else pad, and tiles
            for what does not fit into memory.
        fail_fast: stop at the first input that fails.
        ext: format of images, see ``jobs.list_jobs``.
        limit: do only so many inputs, the first ones.
        read: how inputs are read; with ``raw``, frames go from standard input to standard output, and ``source`` and
            ``out`` are not looked at.
        write: how outputs are written.
        recursive: descend into sub-folders.
        overwrite: replace existing outputs.
        resume: leave out what an earlier run has done, and do again what has changed since; see ``resume``.
        instances: for a model that takes labels and instances, the folder with the instance map of each label map, or
            the file for a single one; see ``media.maps.instances_of``.
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
    maps_of_instances = Path(instances) if instances is not None else None
    tasks.check_instances(spec, Path(source), maps_of_instances)
    read = replace(read, deep=spec.input.dtype == "float32")
    options = RunOptions(
        batch=batch, workers=workers, fit=fit, fail_fast=fail_fast, read=read, write=write, instances=maps_of_instances
    )
    planner = FitPlanner.for_model(models[0], options.fit)
    if read.raw:
        jobs = pipe_job()
    else:
        replacing = overwrite or resume
        jobs = list_jobs(Path(source), Path(out), recursive=recursive, overwrite=replacing, ext=ext, limit=limit)
    fingerprint = models[0].fingerprint() if jobs.folder else ""
    stamps = functools.partial(tasks.input_stamp, instances=maps_of_instances)
    if resume:
        remove_leftovers(jobs)
        jobs = without_what_is_done(jobs, fingerprint, stamps)
    _check_codecs(jobs, write)
    inbox = Inbox()
    devices = [Device(each, options.batch, planner, inbox) for each in models]  # one that refuses leaves no record
    record = RunRecord(jobs.folder / RECORD_NAME if jobs.folder else None)
    tracker = Tracker(jobs, record, models[0].size, fingerprint, stamps)
    try:
        scheduler = Scheduler(jobs, devices, planner, tracker, options, inbox, cancel or threading.Event())
        with codec_lines.caught(), taking_turns(opencv_alone=jobs.stills < 2):
            execution = scheduler.run(lambda: on_progress(tracker.progress()))
        summary = tracker.summary(execution)
        record.append({"summary": summary.to_dict()})
    finally:
        record.close()
    return summary


def _check_codecs(jobs: JobList, write: WriteOptions) -> None:
    """Refuse what was asked for videos where one of them could not be written like that."""
    if write.codec or write.crf is not None:
        from p2p_deploy.media.video.encoders import check_codec  # loads FFmpeg

        for suffix in {job.output.suffix for job in jobs if is_video(job.output)}:
            check_codec(suffix, write.codec, write.crf)
