"""What two builds are compared on: small networks whose outputs vary, and files of every kind."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from common import photo_frames
from helpers.support import drawing_generator, latent_spec, make_clip, unet_spec, varied_generator
from PIL import Image

from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.demo.photos import clip, photos
from p2p_deploy.spec import ImageSpec, ModelSpec


def make_checkpoints(folder: Path) -> None:
    """``unet.pt``, ``resnet.pt``, ``labels.pt`` with instances, ``drawing.pt`` with classes."""
    unet = unet_spec()
    resnet = ModelSpec(
        name="resnet",
        arch="resnet",
        arch_kwargs={"ngf": 8, "n_blocks": 2},
        inputs=(ImageSpec.for_channels(3),),
        output=ImageSpec.for_channels(3),
        size_multiple=4,
        min_size=16,
        train_size=(64, 64),
    )
    labels = resnet.with_changes(
        name="labels",
        arch_kwargs={"in_channels": 6, "ngf": 8, "n_blocks": 2},
        inputs=(ImageSpec.for_labels(5), ImageSpec.for_instances()),
    )
    for spec in (unet, resnet):
        save_checkpoint(folder / f"{spec.arch}.pt", spec, varied_generator(spec), {"system": "test"})
    torch.manual_seed(0)
    from p2p_deploy.generators import build_generator

    network = build_generator(labels.arch, labels.arch_kwargs)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, 0, 0.2)
    save_checkpoint(folder / "labels.pt", labels, network.eval(), {"system": "test"})
    drawing = latent_spec(classes=3)
    save_checkpoint(folder / "drawing.pt", drawing, drawing_generator(drawing), {"system": "test"})


def make_inputs(folder: Path) -> None:
    """``mixed``, ``clips``, ``labels`` and ``instances``."""
    mixed = folder / "mixed"
    (mixed / "sub").mkdir(parents=True)
    frames = photo_frames(6, 200)
    bgr = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    random = np.random.default_rng(0)
    cv2.imwrite(str(mixed / "a.jpg"), bgr[0][:150])
    cv2.imwrite(str(mixed / "a.bmp"), bgr[1][:, :90])  # which has a rival for its name
    cv2.imwrite(str(mixed / "grey.png"), bgr[2][..., 0])
    cv2.imwrite(str(mixed / "deep.png"), bgr[3].astype(np.uint16) * 257)
    cv2.imwrite(str(mixed / "alpha.png"), np.dstack([bgr[4], random.integers(0, 256, (200, 200), np.uint8)]))
    cv2.imwrite(str(mixed / "small.webp"), bgr[5][:32, :32])
    cv2.imwritemulti(str(mixed / "pages.tiff"), bgr[:3])
    cv2.imwrite(str(mixed / "one.tif"), bgr[4])
    upright = Image.fromarray(frames[0][:120])
    exif = upright.getexif()
    exif[274] = 6
    upright.save(mixed / "turned.jpg", exif=exif)
    for number, path in enumerate(list(photos().values())[:3]):
        (mixed / "sub" / f"whole-{number}{path.suffix}").write_bytes(path.read_bytes())
    (mixed / "broken.jpg").write_bytes((mixed / "a.jpg").read_bytes()[:500])
    (mixed / "notes.txt").write_text("no picture")
    (folder / "clips").mkdir()
    (folder / "clips" / "film.mp4").write_bytes(clip().read_bytes())
    make_clip(folder / "clips" / "tone.mkv", photo_frames(12, 128), audio=True)
    for kind, classes in (("labels", 5), ("instances", 40)):
        (folder / kind).mkdir()
        for number in range(4):
            numbers = random.integers(0, classes, (9, 12)).repeat(12, 0).repeat(12, 1)
            Image.fromarray(numbers.astype(np.uint8 if kind == "labels" else np.uint16)).save(
                folder / kind / f"{number}.png"
            )
