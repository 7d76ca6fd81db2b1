"""Steps per second of a pix2pix training against the plain loop that the original implementation describes.

All train the same networks (U-Net, ngf 64, and a PatchGAN of 70 pixels) on the same pairs of photographs, one a step,
in one process on the CPU:

    plain            eager float32; Adam as it comes; pictures read by Pillow, resized, cropped and flipped, one by one
    trainers         what `p2p train pix2pix` does
    …                the same with one thing changed: Adam not fused, channels last, or compiled

They alternate, each round in another order; a ratio is of two figures of the same round.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from common import rotated, spread, timed, write_photos, write_result
from PIL import Image
from torch import nn

from p2p_deploy.generators import build_generator
from trainers import Pix2PixOptions
from trainers.data import AlignedPairs, find_pairs, loader_of
from trainers.discriminators import PatchGAN
from trainers.launch import make_fabric
from trainers.networks import init_weights
from trainers.pix2pix import Pix2Pix, make_spec

PAIRS = 20


def to_tensor(image: Image.Image) -> torch.Tensor:
    values = torch.from_numpy(np.asarray(image, np.uint8).copy()).permute(2, 0, 1).contiguous()
    return values.float().div(255).sub(0.5).div(0.5)


def plain_pairs(data: Path, size: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Read by Pillow, one by one."""
    large = round(size * 286 / 256)
    files = sorted((data / "train").iterdir())
    while True:
        for file in random.sample(files, len(files)):
            both = Image.open(file).convert("RGB")
            width, height = both.size
            top, left = random.randint(0, large - size), random.randint(0, large - size)
            flip = random.random() > 0.5
            tensors = []
            for start in (0, width // 2):
                part = both.crop((start, 0, start + width // 2, height)).resize((large, large), Image.BICUBIC)
                part = part.crop((left, top, left + size, top + size))
                part = part.transpose(Image.FLIP_LEFT_RIGHT) if flip else part
                tensors.append(to_tensor(part)[None])
            yield tensors[0], tensors[1]


def plain(data: Path, size: int) -> Callable[[int], None]:
    """The step of the paper, as one writes it down."""
    spec = make_spec(Pix2PixOptions(size=size))
    G = init_weights(build_generator(spec.arch, spec.arch_kwargs))
    D = init_weights(PatchGAN(6))
    optimizer_G = torch.optim.Adam(G.parameters(), 2e-4, (0.5, 0.999), fused=False)
    optimizer_D = torch.optim.Adam(D.parameters(), 2e-4, (0.5, 0.999), fused=False)
    gan_loss, l1_loss = nn.BCEWithLogitsLoss(), nn.L1Loss()

    source = plain_pairs(data, size)

    def steps(count: int) -> None:
        for _ in range(count):
            real_A, real_B = next(source)
            fake_B = G(real_A)
            for weight in D.parameters():
                weight.requires_grad_(True)
            optimizer_D.zero_grad()
            pred_fake = D(torch.cat((real_A, fake_B.detach()), 1))
            loss_fake = gan_loss(pred_fake, torch.zeros_like(pred_fake))
            pred_real = D(torch.cat((real_A, real_B), 1))
            loss_real = gan_loss(pred_real, torch.ones_like(pred_real))
            ((loss_fake + loss_real) * 0.5).backward()
            optimizer_D.step()
            for weight in D.parameters():
                weight.requires_grad_(False)
            optimizer_G.zero_grad()
            pred_fake = D(torch.cat((real_A, fake_B), 1))
            loss = gan_loss(pred_fake, torch.ones_like(pred_fake)) + 100 * l1_loss(fake_B, real_B)
            loss.backward()
            optimizer_G.step()

    return steps


def ours(data: Path, size: int, run: Path, **changes: bool) -> Callable[[int], None]:
    """The step of the trainer."""
    options = Pix2PixOptions(size=size, device="cpu", **changes)
    fabric = make_fabric(options, run)
    system = Pix2Pix(fabric, options, make_spec(options))
    pairs = AlignedPairs(find_pairs(data), size, 3, "AtoB", 0)
    batches = iter(loader_of(pairs, fabric, options)(0))

    def steps(count: int) -> None:
        for _ in range(count):
            system.step(next(batches))

    return steps


def loading(data: Path, size: int, count: int) -> dict[str, float]:
    """Milliseconds that reading, cropping and converting a pair takes; the median of ten times, in turns."""
    pairs, plainly = AlignedPairs(find_pairs(data), size, 3, "AtoB", 0), plain_pairs(data, size)
    ways = {
        "plain": lambda: [next(plainly) for _ in range(count)] and None,
        "trainers": lambda: [pairs[0, index % len(pairs)] for index in range(count)] and None,
    }
    found: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(10):
        for way, read in ways.items():
            found[way].append(timed(read)[0] / count * 1000)
    return {way: float(np.median(times)) for way, times in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=8, help="in each round")
    parser.add_argument("--size", type=int, default=128)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        both = write_photos(data / "train", PAIRS, 512, ".jpg")
        for path, image in zip(sorted((data / "train").iterdir()), both, strict=True):
            Image.fromarray(np.concatenate([image, 255 - image], axis=1)).save(path, quality=95)
        size, run = arguments.size, Path(name) / "run"
        contestants = {
            "plain": plain(data, size),
            "trainers": ours(data, size, run),
            "not fused": ours(data, size, run, fused=False),
            "channels last": ours(data, size, run, channels_last=True),
            "compiled": ours(data, size, run, compile=True),
        }
        for steps in contestants.values():
            steps(2)
        rates: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        cpu: dict[str, list[float]] = {contestant: [] for contestant in contestants}
        for number in range(arguments.rounds):
            for contestant in rotated([*contestants], number):
                wall, used = timed(lambda: contestants[contestant](arguments.steps))  # noqa: B023
                rates[contestant].append(arguments.steps / wall)
                cpu[contestant].append(used / arguments.steps)
                print(f"round {number + 1} {contestant:14} {arguments.steps / wall:6.3f} steps/s", flush=True)
        pair_ms = loading(data, size, 40)
    pairs = [(contestant, "plain") for contestant in contestants if contestant != "plain"]
    pairs += [("trainers", "not fused"), ("compiled", "trainers"), ("channels last", "trainers")]
    ratios = {
        f"{one}/{other}": spread([a / b for a, b in zip(rates[one], rates[other], strict=True)]) for one, other in pairs
    }
    for pair, values in ratios.items():
        print(f"{pair}: median {values['median']:.3f}, {values['min']:.3f} to {values['max']:.3f}")
    print(f"reading a pair: {pair_ms}")
    write_result(
        "training_speed",
        {
            "size": arguments.size,
            "steps_in_a_round": arguments.steps,
            "ratios": ratios,
            "steps_per_second": {contestant: spread(values) for contestant, values in rates.items()},
            "cpu_seconds_per_step": {contestant: spread(values) for contestant, values in cpu.items()},
            "reading_a_pair_ms": pair_ms,
        },
    )


if __name__ == "__main__":
    main()
