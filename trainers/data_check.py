"""Reads a data set before an epoch is spent on it, and names what is wrong."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from p2p_deploy.errors import DataError, ItemFailed
from p2p_deploy.media.image.files import read_image
from p2p_deploy.media.image.maps import read_map
from p2p_deploy.reports import Report
from trainers.data import PairFiles, find_held_out, find_pairs, list_images, match_names, read_pair
from trainers.labelled import name_of
from trainers.unaligned import find_domains

SMALL = 64  # pixels, below which pictures are hardly worth training on
FEW = 10  # pictures
UNKNOWN = 255  # as a label, in many data sets


@dataclass(frozen=True)
class DataReport(Report):
    """What a data set is.

    Attributes:
        layout: ``pairs``, ``domains``, ``labels`` or ``classes``.
        pictures: how many files were read, by the folder or side they are in.
        sizes: (height, width) in pixels and how often.
        labels: classes that occur, where there are label maps.
        problems: sentences; training would stop at each, or learn nonsense.
        remarks: sentences worth knowing.
    """

    layout: str
    pictures: dict[str, int] = field(default_factory=dict)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    labels: set[int] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, the most frequent size first."""
        sizes = [{"height": h, "width": w, "count": count} for (h, w), count in self.sizes.most_common()]
        return {**super().to_dict(), "sizes": sizes}


def check_data(data: str | Path) -> DataReport:
    """Read every file of a data set.

    Raises:
        DataError: there is no folder, or none of the layouts in it.
    """
    data = Path(data)
    if not data.is_dir():
        raise DataError(f"{data} is not a folder. Expected a data set; see docs/cli.md, p2p train.")
    train = data / "train"
    if any((data / f"train{side}").is_dir() for side in "AB"):
        findings = _domains(data)
    elif (data / "train_label").is_dir() or (data / "train_A").is_dir():
        findings = _labels(data)
    elif train.is_dir() and not list_images(train) and any(path.is_dir() for path in train.iterdir()):
        findings = _classes(train)
    else:
        findings = _pairs(data)
    if findings.sizes and min(min(size) for size in findings.sizes) < SMALL:
        small = sum(count for size, count in findings.sizes.items() if min(size) < SMALL)
        findings.remarks.append(f"{small} pictures are smaller than {SMALL} pixels; they are enlarged.")
    if len(findings.sizes) > 1:
        findings.remarks.append(f"{len(findings.sizes)} sizes; all are resized to one, whatever their shape.")
    findings.remarks.extend(
        [f"{where} has only {count} pictures." for where, count in findings.pictures.items() if count < FEW]
    )
    return findings


def _read_all(findings: DataReport, read: Callable[[Path], np.ndarray], files: Iterable[Path]) -> None:
    def one(path: Path) -> np.ndarray | str:
        try:
            return read(path)
        except ItemFailed as exc:
            return str(exc)

    with ThreadPoolExecutor() as pool:
        for found in pool.map(one, files):
            if isinstance(found, str):
                findings.problems.append(found)
            else:
                findings.sizes[found.shape[:2]] += 1


def _domains(data: Path) -> DataReport:
    findings = DataReport("domains")
    try:
        domains = find_domains(data)
    except DataError as exc:
        findings.problems.append(str(exc))
        return findings
    for side, files in zip("AB", domains, strict=True):
        findings.pictures[f"train{side}"] = len(files)
        _read_all(findings, lambda path: read_image(path)[0], files)
    return findings


def _pairs(data: Path) -> DataReport:
    findings = DataReport("pairs")
    for name, find in (("train", find_pairs), ("held out", find_held_out)):
        try:
            pairs = find(data)
        except DataError as exc:
            findings.problems.append(str(exc))
            continue
        if pairs or name == "train":
            findings.pictures[name] = len(pairs)
        with ThreadPoolExecutor() as pool:
            for pair, found in zip(pairs, pool.map(_pair, pairs), strict=True):
                if isinstance(found, str):
                    findings.problems.append(found)
                    continue
                a, b = found
                findings.sizes[b] += 1
                if a != b:
                    findings.problems.append(
                        f"{pair.a} is {a[0]}x{a[1]} and {pair.b} is {b[0]}x{b[1]}; pairs must show the same thing."
                    )
    if not findings.pictures.get("held out"):
        findings.remarks.append("No pairs in val or test: nothing will be measured, and there will be no best.pt.")
    return findings


def _pair(files: PairFiles) -> tuple[tuple[int, int], tuple[int, int]] | str:
    try:
        a, b = read_pair(files)
    except DataError as exc:
        return str(exc)
    return a.shape[:2], b.shape[:2]


def _labels(data: Path) -> DataReport:
    """Label maps, or pictures, with their targets, and instances where they are."""
    of_maps = (data / "train_label").is_dir()
    findings = DataReport("labels" if of_maps else "pairs")
    kinds = ("label", "inst", "img") if of_maps else ("A", "B")
    for split in ("train", "val", "test"):
        folders = {kind: data / f"{split}_{kind}" for kind in kinds}
        there = [kind for kind, folder in folders.items() if folder.is_dir()]
        if split != "train" and not {kinds[0], kinds[-1]} <= set(there):
            continue
        if kinds[-1] not in there:
            findings.problems.append(f"{folders[kinds[-1]]} does not exist. Expected the picture of each input.")
            continue
        try:
            found = match_names([folders[kind] for kind in there], name_of)
        except DataError as exc:
            findings.problems.append(str(exc))
            continue
        findings.pictures[split] = len(found)
        for kind, files in zip(there, zip(*found, strict=True), strict=True):
            read = functools.partial(_numbers, findings.labels) if kind == "label" else read_map
            _read_all(findings, read if kind in ("label", "inst") else lambda path: read_image(path)[0], files)
    if findings.labels:
        lowest, *_, largest = *sorted(findings.labels), max(findings.labels)
        findings.remarks.append(f"Labels go from {lowest} to {largest}: train with `labels={largest + 1}`.")
        if largest == UNKNOWN and UNKNOWN - 1 not in findings.labels:
            findings.remarks.append("255 often stands for what is unknown; a number after the last class saves memory.")
        if not (data / "train_inst").is_dir():
            findings.remarks.append("No instances in train_inst: train with `instances=False`.")
    return findings


def _numbers(seen: set[int], path: Path) -> np.ndarray:
    found = read_map(path)
    seen.update(np.unique(found).tolist())
    return found


def _classes(train: Path) -> DataReport:
    findings = DataReport("classes")
    for folder in sorted(path for path in train.iterdir() if path.is_dir() and not path.name.startswith(".")):
        files = list_images(folder)
        findings.pictures[folder.name] = len(files)
        if not files:
            findings.problems.append(f"{folder} holds no images.")
        _read_all(findings, lambda path: read_image(path)[0], files)
    return findings
