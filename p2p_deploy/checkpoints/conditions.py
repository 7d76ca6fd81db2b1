"""What the input channels of pix2pixHD and SPADE stand for: classes, edges, features. The keys only count them."""

from __future__ import annotations

from p2p_deploy.checkpoints.detection import image_of
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions
from p2p_deploy.spec import ImageSpec

Inputs = tuple[ImageSpec, ...]
CONDITIONS = frozenset(("labels", "edges", "features"))  # what ``inputs_of`` takes from the user
# How SPADE's own data sets number the files they read: not as the network is given them.
_NUMBERING = {
    151: "ADE20K files have to be renumbered: SPADE takes 1 from each label, and 0 becomes 150",
    184: "COCO-Stuff files have to be renumbered: SPADE reads 255 as 182",
}


def inputs_of(
    channels: int, assume: Assumptions, family: str, *, edges_default: bool = True, image: bool = True
) -> tuple[Inputs, int, list[str]]:
    """What a network with so many input channels takes.

    Args:
        channels: of its first convolution.
        assume: what the user says.
        family: whose network it is, for messages.
        edges_default: whether a label map usually comes with the edges of instances.
        image: whether 1 or 3 channels are a picture.

    Returns:
        The inputs, how many channels a feature encoder fills, and sentences about what was assumed.

    Raises:
        CheckpointError: what the user says does not add up to ``channels``.
    """
    if assume.labels == 0 and (assume.edges or assume.features):
        raise CheckpointError("`labels=0` means an image, which has neither edges nor features; leave those out.")
    said = assume.labels is not None or assume.features or assume.edges
    if assume.labels == 0 or (image and channels in (1, 3) and not said):
        return (image_of(channels, "input"),), 0, []
    features = assume.features or 0
    edges = edges_default if assume.edges is None else assume.edges
    if assume.labels is not None and assume.edges is None:
        edges = channels == assume.labels + features + 1
    labels = channels - features - edges if assume.labels is None else assume.labels
    if labels < 1 or labels + features + edges != channels:
        raise CheckpointError(
            f"its input has {channels} channels; {labels} classes, {int(edges)} channel of edges and {features} of "
            "features do not add up to that. Say what they are with `labels`, `edges=True` or `edges=False`, and "
            "`features`."
        )
    assumed = []
    if assume.labels is None:
        what = "a one-hot label map and the edges of instances" if edges else "a one-hot label map"
        assumed.append(
            f"the {channels} input channels are {what}: {labels} classes, the usual way with {family}; otherwise say "
            "`labels=N`, 0 for an image"
        )
    if not image and channels in _NUMBERING:
        assumed.append(_NUMBERING[channels])
    if features and assume.encoded is None:
        assumed.append(f"the {features} channels of an encoder are zeros; others with `encoded=FILE.npy`")
    return label_inputs(labels, edges=edges), features, assumed


def label_inputs(classes: int, *, edges: bool) -> Inputs:
    """A label map and, where edges are used, an instance map."""
    labels = ImageSpec.for_labels(classes)
    return (labels, ImageSpec.for_instances()) if edges else (labels,)
