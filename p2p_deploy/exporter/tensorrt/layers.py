"""What a plan computes in, read from the network the builder parsed and not from what was asked for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from p2p_deploy.errors import ExportError
from p2p_deploy.reports import Report

HALF = ("HALF", "BF16")
MIN_HALF_SHARE = 0.9


@dataclass(frozen=True)
class PrecisionReport(Report):
    """What a parsed, strongly typed network computes in.

    Attributes:
        convolutions: number of convolution and deconvolution layers, and of matrix products.
        half_convolutions: how many of them give half, float16 or bfloat16.
        fp32_convolutions: names of those that give float32.
        macs: multiply-accumulates of all of them at the shape that was asked about.
        half_macs: those of the ones that give half.
        layer_outputs: number of layer outputs by element type.
    """

    convolutions: int
    half_convolutions: int
    fp32_convolutions: tuple[str, ...]
    macs: int
    half_macs: int
    layer_outputs: dict[str, int]

    @property
    def half_share(self) -> float:
        """Share of the multiply-accumulates done in half, 0 to 1; 1 where there are none."""
        return self.half_macs / self.macs if self.macs else 1.0

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**super().to_dict(), "half_share": round(self.half_share, 4)}

    def __str__(self) -> str:
        percent = 100 * self.half_macs // self.macs if self.macs else 100  # down: 99.9 is not everything
        return (
            f"{percent} % of the multiply-accumulates in half "
            f"({self.half_convolutions} of {self.convolutions} convolutions and matrix products)"
        )


def read_precision(trt: Any, network: Any, shapes: Mapping[str, tuple[int, ...]]) -> PrecisionReport:
    """Read what a network computes in, and how much.

    Args:
        trt: the flavour's module.
        network: parsed. Its inputs get ``shapes`` and keep them, so this comes after the build.
        shapes: all dimensions of each input by name, for which multiply-accumulates are counted.

    Raises:
        ExportError: the network does not work at this shape.
    """
    for index in range(network.num_inputs):
        network.get_input(index).shape = shapes[network.get_input(index).name]
    outputs: Counter[str] = Counter()
    convolutions: list[tuple[str, str, int]] = []
    for index in range(network.num_layers):
        layer = network.get_layer(index)
        outputs.update(layer.get_output(number).dtype.name for number in range(layer.num_outputs))
        if layer.type in _kinds(trt):
            convolutions.append((layer.name, layer.get_output(0).dtype.name, _multiply_accumulates(trt, layer)))
    return PrecisionReport(
        convolutions=len(convolutions),
        half_convolutions=sum(kind in HALF for _, kind, _ in convolutions),
        fp32_convolutions=tuple(name for name, kind, _ in convolutions if kind == "FLOAT"),
        macs=sum(macs for _, _, macs in convolutions),
        half_macs=sum(macs for _, kind, macs in convolutions if kind in HALF),
        layer_outputs=dict(sorted(outputs.items())),
    )


def _kinds(trt: Any) -> dict[Any, Any]:
    """The layers that do the work, each with its class."""
    return {
        trt.LayerType.CONVOLUTION: trt.IConvolutionLayer,
        trt.LayerType.DECONVOLUTION: trt.IDeconvolutionLayer,
        trt.LayerType.MATRIX_MULTIPLY: trt.IMatrixMultiplyLayer,
    }


def _multiply_accumulates(trt: Any, layer: Any) -> int:
    """Of one layer: convolutions apply their kernel at every place they give, deconvolutions at every one they take."""
    # The network gives every layer as an ILayer, which does not know its kernel.
    layer.__class__ = _kinds(trt)[layer.type]
    try:
        taken: tuple[int, ...] = tuple(layer.get_input(0).shape)
        given: tuple[int, ...] = tuple(layer.get_output(0).shape)
    except RuntimeError as exc:
        raise ExportError(f"The sizes of {layer.name} cannot be told: {exc}") from exc
    if min(*taken, *given) < 0:
        raise ExportError(f"The sizes of {layer.name} do not follow from the size of the frames: {taken} to {given}.")
    if layer.type == trt.LayerType.MATRIX_MULTIPLY:
        return math.prod(taken) * given[-1]
    places = taken if layer.type == trt.LayerType.DECONVOLUTION else given
    kernel: int = math.prod(layer.kernel_size_nd) * taken[1] * layer.num_output_maps // layer.num_groups
    return kernel * places[0] * math.prod(places[2:])


def require_half(report: PrecisionReport, minimum: float = MIN_HALF_SHARE) -> None:
    """Raise ExportError when less than ``minimum``, 0 to 1, of the multiply-accumulates are done in half."""
    if report.half_share < minimum:
        more = ", ..." if len(report.fp32_convolutions) > 5 else ""
        raise ExportError(
            f"A plan in half was asked for, but only {report}; expected at least {minimum:.0%}. In float32: "
            f"{', '.join(report.fp32_convolutions[:5])}{more}. No plan was written."
        )
