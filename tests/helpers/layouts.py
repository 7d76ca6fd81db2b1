"""Key and shape tables of foreign checkpoints, written after the projects' documented layouts.

Nothing here knows our own generators: each function lists what ``state_dict()`` of the original gives.
"""

from __future__ import annotations

Table = dict[str, tuple[int, ...]]


def conv(key: str, out: int, into: int, size: int, bias: bool = True) -> Table:
    return {f"{key}.weight": (out, into, size, size), **({f"{key}.bias": (out,)} if bias else {})}


def transposed(key: str, into: int, out: int, size: int, bias: bool = True) -> Table:
    return {f"{key}.weight": (into, out, size, size), **({f"{key}.bias": (out,)} if bias else {})}


def batch_norm(key: str, width: int, affine: bool = True) -> Table:
    table = {f"{key}.weight": (width,), f"{key}.bias": (width,)} if affine else {}
    return {**table, f"{key}.running_mean": (width,), f"{key}.running_var": (width,), f"{key}.num_batches_tracked": ()}


def norm(kind: str, key: str, width: int) -> Table:
    if kind == "batch":
        return batch_norm(key, width)
    return batch_norm(key, width, affine=False) if kind == "tracked" else {}  # InstanceNorm of torch 0.3


def unet(downs: int = 8, ngf: int = 64, into: int = 3, out: int = 3, kind: str = "batch") -> Table:
    """pytorch-CycleGAN-and-pix2pix, UnetGenerator: nested UnetSkipConnectionBlocks, the outermost first."""
    bias = kind in ("instance", "tracked")
    width = [ngf, 2 * ngf, 4 * ngf] + [8 * ngf] * (downs - 3)
    table = conv("model.model.0", ngf, into, 4, bias)
    block = "model.model.1"
    for level in range(1, downs):
        innermost = level == downs - 1
        table |= conv(f"{block}.model.1", width[level], width[level - 1], 4, bias)
        if innermost:
            table |= transposed(f"{block}.model.3", width[level], width[level - 1], 4, bias)
            table |= norm(kind, f"{block}.model.4", width[level - 1])
        else:
            table |= norm(kind, f"{block}.model.2", width[level])
            table |= transposed(f"{block}.model.5", 2 * width[level], width[level - 1], 4, bias)
            table |= norm(kind, f"{block}.model.6", width[level - 1])
        block += ".model.3"
    return table | transposed("model.model.3", 2 * ngf, out, 4)


def resnet_block(key: str, width: int, kind: str, bias: bool, first: int = 1, dropout: bool = False) -> Table:
    """Convolutions at 1 and 5; without padding layers at 0 and 3; the second one later after dropout."""
    second = first + 4 - (first == 0) + dropout
    table: Table = {}
    for index in (first, second):
        table |= conv(f"{key}.{index}", width, width, 3, bias) | norm(kind, f"{key}.{index + 1}", width)
    return table


def resnet_body(
    name: str, into: int, ngf: int, downs: int, blocks: int, kind: str, bias: bool, **block: int
) -> tuple[Table, int]:
    """Everything before the last padding, and the index that comes next."""
    table = conv(f"{name}.1", ngf, into, 7, bias) | norm(kind, f"{name}.2", ngf)
    index, width = 4, ngf
    for _ in range(downs):
        table |= conv(f"{name}.{index}", 2 * width, width, 3, bias) | norm(kind, f"{name}.{index + 1}", 2 * width)
        index, width = index + 3, 2 * width
    for _ in range(blocks):
        table |= resnet_block(f"{name}.{index}.conv_block", width, kind, bias, **block)
        index += 1
    for _ in range(downs):
        table |= transposed(f"{name}.{index}", width, width // 2, 3, bias)
        table |= norm(kind, f"{name}.{index + 1}", width // 2)
        index, width = index + 3, width // 2
    return table, index


def resnet(
    blocks: int = 9,
    ngf: int = 64,
    into: int = 3,
    out: int = 3,
    kind: str = "instance",
    downs: int = 2,
    bias: bool | None = None,
    **block: int,
) -> Table:
    """pytorch-CycleGAN-and-pix2pix, ResnetGenerator; with biases everywhere, pix2pixHD's GlobalGenerator."""
    bias = kind in ("instance", "tracked") if bias is None else bias
    table, index = resnet_body("model", into, ngf, downs, blocks, kind, bias, **block)
    return table | conv(f"model.{index + 1}", out, ngf, 7)


def local_enhancer(
    into: int = 3,
    ngf: int = 32,
    downs: int = 3,
    blocks: int = 9,
    local_blocks: int = 3,
    enhancers: int = 1,
    kind: str = "instance",
    out: int = 3,
    **block: int,
) -> Table:
    """pix2pixHD, LocalEnhancer."""
    table, _ = resnet_body("model", into, ngf * 2**enhancers, downs, blocks, kind, True, **block)
    for number in range(1, enhancers + 1):
        width = ngf * 2 ** (enhancers - number)
        first, second = f"model{number}_1", f"model{number}_2"
        table |= conv(f"{first}.1", width, into, 7) | norm(kind, f"{first}.2", width)
        table |= conv(f"{first}.4", 2 * width, width, 3) | norm(kind, f"{first}.5", 2 * width)
        for number_of_block in range(local_blocks):
            table |= resnet_block(f"{second}.{number_of_block}.conv_block", 2 * width, kind, True, **block)
        table |= transposed(f"{second}.{local_blocks}", 2 * width, width, 3)
        table |= norm(kind, f"{second}.{local_blocks + 1}", width)
    return table | conv(f"model{enhancers}_2.{local_blocks + 4}", out, ngf, 7)


def gan_unet(downs: int = 8, ngf: int = 64, into: int = 3, out: int = 3, kind: str = "instance") -> Table:
    """PyTorch-GAN, pix2pix: GeneratorUNet."""
    width = [ngf, 2 * ngf, 4 * ngf] + [8 * ngf] * (downs - 3)
    table: Table = {}
    for level in range(downs):
        table |= conv(f"down{level + 1}.model.0", width[level], width[level - 1] if level else into, 4, bias=False)
        if 0 < level < downs - 1:
            table |= norm(kind, f"down{level + 1}.model.1", width[level])
    for number in range(1, downs):
        level = downs - 1 - number
        above = width[level + 1] * (1 if number == 1 else 2)
        table |= transposed(f"up{number}.model.0", above, width[level], 4, bias=False)
        table |= norm(kind, f"up{number}.model.1", width[level])
    return table | conv("final.2", out, 2 * ngf, 4)


def gan_resnet(blocks: int = 9, channels: int = 3, ngf: int = 64) -> Table:
    """PyTorch-GAN, CycleGAN: GeneratorResNet."""
    table = conv("model.1", ngf, channels, 7)
    table |= conv("model.4", 2 * ngf, ngf, 3) | conv("model.7", 4 * ngf, 2 * ngf, 3)
    index = 10
    for _ in range(blocks):
        table |= conv(f"model.{index}.block.1", 4 * ngf, 4 * ngf, 3)
        table |= conv(f"model.{index}.block.5", 4 * ngf, 4 * ngf, 3)
        index += 1
    table |= conv(f"model.{index + 1}", 2 * ngf, 4 * ngf, 3) | conv(f"model.{index + 5}", ngf, 2 * ngf, 3)
    return table | conv(f"model.{index + 9}", channels, ngf, 7)


def spectral(table: Table, key: str, form: str) -> Table:
    """What spectral norm makes of a convolution's weight."""
    out, into, height, width = table.pop(f"{key}.weight")
    vectors = (out,), (into * height * width,)
    if form == "old":
        names = ("weight_orig", "weight_u", "weight_v")
    else:
        stem = "parametrizations.weight"
        names = (f"{stem}.original", f"{stem}.0._u", f"{stem}.0._v")
    return table | {
        f"{key}.{name}": shape for name, shape in zip(names, ((out, into, height, width), *vectors), strict=True)
    }


def spade(
    labels: int = 36,
    ngf: int = 64,
    kind: str = "batch",
    most: bool = False,
    kernel: int = 3,
    z_dim: int = 0,
    places: int = 0,
    form: str | None = "old",
) -> Table:
    """SPADE, SPADEGenerator."""
    if z_dim:
        table: Table = {"fc.weight": (16 * ngf * places, z_dim), "fc.bias": (16 * ngf * places,)}
    else:
        table = conv("fc", 16 * ngf, labels, 3)
    widths = [("head_0", 16, 16), ("G_middle_0", 16, 16), ("G_middle_1", 16, 16)]
    widths += [("up_0", 16, 8), ("up_1", 8, 4), ("up_2", 4, 2), ("up_3", 2, 1)]
    blocks = [(name, first * ngf, second * ngf) for name, first, second in widths]
    if most:
        blocks.append(("up_4", ngf, ngf // 2))
    for name, first, second in blocks:
        table |= spade_block(name, first, second, labels, kind, kernel, form)
    return table | conv("conv_img", 3, ngf // 2 if most else ngf, 3)


def spade_block(name: str, first: int, second: int, labels: int, kind: str, kernel: int, form: str | None) -> Table:
    middle = min(first, second)
    table = conv(f"{name}.conv_0", middle, first, 3) | conv(f"{name}.conv_1", second, middle, 3)
    norms = [("norm_0", first), ("norm_1", middle)]
    if first != second:
        table |= conv(f"{name}.conv_s", second, first, 1, bias=False)
        norms.append(("norm_s", first))
    for key in [key.removesuffix(".weight") for key in table if key.endswith(".weight")] if form else []:
        table = spectral(table, key, form or "")
    for norm_name, width in norms:
        norm_key = f"{name}.{norm_name}"
        if kind == "batch":
            table |= batch_norm(f"{norm_key}.param_free_norm", width, affine=False)
        table |= conv(f"{norm_key}.mlp_shared.0", 128, labels, kernel)
        table |= conv(f"{norm_key}.mlp_gamma", width, 128, kernel) | conv(f"{norm_key}.mlp_beta", width, 128, kernel)
    return table
