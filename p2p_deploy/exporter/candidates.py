"""Which precision a network can be exported in: each candidate is judged before anything is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.emulation import Emulation, ranges
from p2p_deploy.exporter.precision import DTYPES, PRODUCTS, Precision, at_precision, multiply_accumulates
from p2p_deploy.exporter.quality import Quality, compare
from p2p_deploy.exporter.reference import Reference
from p2p_deploy.exporter.tensorrt.layers import MIN_HALF_SHARE
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.options.export import PrecisionChoice
from p2p_deploy.reports import Report

# A value this far below what half can hold leaves room for pictures that were not among those checked.
_HEADROOM = 4


@dataclass(frozen=True)
class Candidate(Report):
    """A precision, and how it does.

    Attributes:
        precision: what the network computes in outside its fp32_layers.
        fp32_layers: names of the convolutions that stay in float32.
        half_share: share of the multiply-accumulates of all convolutions that are done in half.
        quality: against the checkpoint; None for fp32, whose own file is compared instead.
        failure: why it cannot be taken, or None.
    """

    precision: Precision
    fp32_layers: tuple[str, ...]
    half_share: float
    quality: Quality | None
    failure: str | None

    @classmethod
    def exact(cls) -> Candidate:
        """Everything in float32."""
        return cls("fp32", (), 0.0, None, None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {**super().to_dict(), "half_share": round(self.half_share, 4)}


def judge(reference: Reference, choice: PrecisionChoice, *, min_psnr: float, bf16: bool) -> list[Candidate]:
    """Judge candidates in order until one passes; the last one is the one to take, if its ``failure`` is None.

    Half precisions are judged by emulation, because CPU runtimes compute them in float32.

    Args:
        reference: the generator, the images to judge on, and what it gives for them.
        choice: one precision, or ``auto`` for fp16, fp16 with more fp32_layers, bf16, fp32.
        min_psnr: decibels that a half precision must reach.
        bf16: whether ``auto`` may take it: whether what will run the network can.
    """
    tried: list[Candidate] = []
    for precision, fp32_layers in _candidates(reference, choice, bf16):
        tried.append(_judge(reference, precision, fp32_layers, min_psnr))
        if tried[-1].failure is None:
            break
    return tried


def _judge(reference: Reference, precision: Precision, fp32_layers: tuple[str, ...], min_psnr: float) -> Candidate:
    if precision == "fp32":
        return Candidate.exact()
    network = at_precision(reference.generator, precision, fp32_layers)
    emulation = Emulation(FrameModel(network, reference.spec, DTYPES[precision]))
    quality = compare(reference.outputs, emulation, reference.inputs, emulation)
    share = 1.0
    if fp32_layers:
        macs = multiply_accumulates(reference.generator, reference.values()[:1])
        share -= sum(macs[name] for name in fp32_layers) / sum(macs.values())
    failure = quality.failure(exact=False, min_psnr=min_psnr)
    if failure is None and share < MIN_HALF_SHARE:
        failure = f"only {share:.0%} of the convolutions' work would be in half; expected {MIN_HALF_SHARE:.0%}"
    return Candidate(precision, fp32_layers, share, quality, failure)


def _candidates(
    reference: Reference, choice: PrecisionChoice, bf16: bool
) -> Iterator[tuple[Precision, tuple[str, ...]]]:
    if choice != "auto":
        yield choice, ()
        return
    yield "fp16", ()
    if fp32_layers := more_fp32_layers(reference.generator, reference.values()):
        yield "fp16", fp32_layers
    if bf16:
        yield "bf16", ()
    yield "fp32", ()


def more_fp32_layers(generator: nn.Module, values: torch.Tensor) -> tuple[str, ...]:
    """The convolutions and linear layers half has most trouble with, in the order they run.

    Those that take or give values near or beyond the largest half, and the first and the last, where pixels come in and
    go out.
    """
    folded = at_precision(generator, "fp32")
    convolutions = {name for name, module in folded.named_modules() if isinstance(module, PRODUCTS)}
    largest = ranges(folded, values)
    limit = torch.finfo(torch.float16).max / _HEADROOM
    in_order = [name for name in largest if name in convolutions]
    outermost = {in_order[0], in_order[-1]}
    return tuple(name for name in in_order if largest[name] > limit or name in outermost)


def take(tried: list[Candidate]) -> Candidate:
    """The candidate that passed.

    Raises:
        ExportError: none did; says what to try.
    """
    last = tried[-1]
    if last.failure is None:
        return last
    raise ExportError(
        f"{last.precision} does not give the checkpoint's pictures: {last.failure}. Nothing was written. Try "
        "`precision=auto`, which finds a precision that does."
    )
