"""Trainings on photographs: on pictures they never saw they come nearer, and with shuffled targets they do not."""

import numpy as np
import pytest
from helpers.support import photo_crops, write_images
from helpers.training import train

import p2p_deploy
from p2p_deploy.exporter.export import export
from trainers import CycleGANOptions, Pix2PixOptions, cyclegan

PIX2PIX = {
    "unet": {},
    "unet_upsample": {"generator": "unet_upsample", "size": 64},
    "resnet": {"generator": "resnet", "n_blocks": 2},
    "neck": {"neck": "pan"},
    "consistency": {"consistency": 10.0},
}
SMALL = {"size": 32, "ngf": 8, "batch": 4, "device": "cpu", "validate_every": 10**6, "save_every": 10**6}


def error(checkpoint, inputs, targets):
    """Mean L1 of what is exported, in levels of 255."""
    report = export(checkpoint, checkpoint.with_suffix(".onnx"))
    with p2p_deploy.load(report.onnx) as model:
        return np.abs(model(inputs).astype(int) - targets).mean()


@pytest.mark.parametrize("name", PIX2PIX)
def test_pix2pix_learns_to_invert(name, tmp_path):
    chosen = {**SMALL, **PIX2PIX[name]}
    frames, held_out = photo_crops(12, chosen["size"] + 16), photo_crops(6, chosen["size"], seed=9)

    def after(steps, targets):
        data = tmp_path / f"{steps} {len(list(tmp_path.iterdir()))}"
        write_images(data / "A" / "train", frames)
        write_images(data / "B" / "train", targets)
        options = Pix2PixOptions(**chosen, steps=steps)
        return error(train(data, data / "run", options), held_out, 255 - held_out.astype(int))

    untrained, learnt = after(1, 255 - frames), after(150, 255 - frames)
    shuffled = after(150, 255 - np.roll(frames, 5, axis=0))
    assert learnt < 0.7 * untrained
    assert learnt < 0.8 * shuffled


@pytest.mark.parametrize("generator", ["resnet", "unet"])
def test_cyclegan_learns_the_tone_of_the_other_domain(generator, tmp_path, monkeypatch):
    """Red pictures, and blue ones of other crops; where each of these has a tone of its own there is none to learn."""
    monkeypatch.setattr(cyclegan, "LEARNING_RATE", 1e-3)  # what is small learns faster
    red, blue = np.array([1.0, 0.5, 0.3]), np.array([0.3, 0.5, 1.0])
    tones = np.random.default_rng(3).uniform(0.3, 1, (24, 1, 1, 3))

    def toned(pictures, tone):
        return (pictures * tone).astype(np.uint8)

    one, other, held_out = (photo_crops(count, 48, seed=seed) for count, seed in ((24, 0), (24, 1), (6, 9)))
    inputs, targets = (toned(held_out[:, :32, :32], tone) for tone in (red, blue))

    def after(steps, tone):
        data = tmp_path / f"{steps} {len(list(tmp_path.iterdir()))}"
        write_images(data / "trainA", toned(one, red))
        write_images(data / "trainB", toned(other, tone))
        options = CycleGANOptions(**{**SMALL, "batch": 2}, generator=generator, n_blocks=2, steps=steps)
        return error(train(data, data / "run", options), inputs, targets.astype(int))

    untrained, learnt, shuffled = after(1, blue), after(200, blue), after(200, tones)
    assert learnt < 0.6 * untrained
    assert learnt < 0.6 * np.abs(inputs.astype(int) - targets).mean()
    assert learnt < 0.75 * shuffled
