"""pix2pixHD's feature channels, without the encoder that made them in training.

Wang et al.: High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs (CVPR 2018), section 3.4:
the generator takes the label map and, beside it, features that are constant over each instance.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from p2p_deploy.generators.local_enhancer import LocalEnhancer
from p2p_deploy.generators.resnet import ResNet
from p2p_deploy.spec.checks import check_choice, check_integer

Inner = Literal["resnet", "local_enhancer"]


def make_inner(
    generator: Inner, in_channels: int, out_channels: int, ngf: int, arguments: Mapping[str, Any]
) -> ResNet | LocalEnhancer:
    """The generator of that name. Raises SpecError where there is none, or like the generator itself."""
    check_choice("generator", generator, get_args(Inner))
    made = ResNet if generator == "resnet" else LocalEnhancer
    return made(in_channels, out_channels, ngf=ngf, **arguments)


class Featured(nn.Module):
    """A generator whose last input channels are looked up for each class: (N, in_channels, H, W) to (N, C, H, W).

    The table, zeros until it is set, is the weight of ``lookup``, (features, classes, 1, 1).

    Args:
        in_channels: the first ``classes`` of them are one-hot.
        out_channels: of the output.
        ngf: width of the generator's first layer.
        generator: what takes the channels and the features.
        classes: None is all of ``in_channels``.
        features: how many.
        **arguments: the generator's.

    Raises:
        SpecError: for a number of classes or features that makes no table, or arguments that make no generator.
    """

    def __init__(
        self,
        in_channels: int = 3,
        out_channels: int = 3,
        *,
        ngf: int = 64,
        generator: Inner = "resnet",
        classes: int | None = None,
        features: int = 3,
        **arguments: Any,
    ) -> None:
        classes = in_channels if classes is None else classes
        check_integer("classes", classes, 1, in_channels)
        check_integer("features", features, 1, 1024)
        super().__init__()
        self.lookup = nn.Conv2d(classes, features, 1, bias=False).requires_grad_(False)
        nn.init.zeros_(self.lookup.weight)
        self.generator = make_inner(generator, in_channels + features, out_channels, ngf, arguments)
        self.size_multiple, self.min_size = self.generator.size_multiple, self.generator.min_size

    def forward(self, x: Tensor, features: Tensor | None = None) -> Tensor:
        """Append the features and translate.

        Args:
            x: (N, in_channels, H, W).
            features: (N, features, H, W) instead of those in the table.
        """
        if features is None:
            features = self.lookup(x[:, : self.lookup.in_channels])
        return self.generator(torch.cat([x, features], dim=1))
