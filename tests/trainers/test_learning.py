"""Trainings on photographs: on pictures they never saw they come nearer, and with shuffled targets they do not."""

import numpy as np
import pytest
from helpers.support import photo_crops, write_images
from helpers.training import train

import p2p_deploy
from p2p_deploy.exporter.export import export
from trainers import CycleGANOptions, Pix2PixOptions, cyclegan, pix2pix

PIX2PIX = {
    "unet": {},
    "unet_upsample": {"generator": "unet_upsample", "size": 64},
    "resnet": {"generator": "resnet", "n_blocks": 2, "steps": 100},
    "neck": {"neck": "pan"},
    "consistency": {"consistency": 10.0},
}
SMALL = {"size": 32, "ngf": 8, "device": "cpu", "validate_every": 10**6, "save_every": 10**6}


@pytest.fixture(autouse=True)
def haste(monkeypatch):
    """What is small learns faster."""
    monkeypatch.setattr(pix2pix, "LEARNING_RATE", 2e-3)
    monkeypatch.setattr(cyclegan, "LEARNING_RATE", 1e-3)


def error(model, inputs, targets):
    """Mean L1 of a checkpoint or of what was exported, in levels of 255."""
    with p2p_deploy.load(model) as loaded:
        return np.abs(loaded(inputs).astype(int) - targets).mean()


def exported(checkpoint):
    return export(checkpoint, checkpoint.with_suffix(".onnx")).onnx


@pytest.mark.parametrize("name", PIX2PIX)
def test_pix2pix_learns_to_invert(name, tmp_path):
    chosen = {**SMALL, "batch": 4, "steps": 60, **PIX2PIX[name]}
    frames, held_out = photo_crops(12, chosen["size"] + 16), photo_crops(6, chosen["size"], seed=9)
    wanted = 255 - held_out.astype(int)

    def after(targets, **changes):
        data = tmp_path / str(len(list(tmp_path.iterdir())))
        write_images(data / "A" / "train", frames)
        write_images(data / "B" / "train", targets)
        return train(data, data / "run", Pix2PixOptions(**{**chosen, **changes}))

    untrained = error(after(255 - frames, steps=1), held_out, wanted)
    learnt = error(exported(after(255 - frames)), held_out, wanted)
    shuffled = error(after(255 - np.roll(frames, 5, axis=0)), held_out, wanted)
    assert learnt < 0.7 * untrained
    assert learnt < 0.8 * shuffled


@pytest.mark.parametrize("generator", ["resnet", "unet"])
def test_cyclegan_learns_the_tone_of_the_other_domain(generator, tmp_path):
    """Red pictures, and blue ones of other crops; where each of these has a tone of its own there is none to learn."""
    red, blue = np.array([1.0, 0.5, 0.3]), np.array([0.3, 0.5, 1.0])
    tones = np.random.default_rng(3).uniform(0.3, 1, (24, 1, 1, 3))

    def toned(pictures, tone):
        return (pictures * tone).astype(np.uint8)

    one, other, held_out = (photo_crops(count, 48, seed=seed) for count, seed in ((24, 0), (24, 1), (6, 9)))
    inputs, targets = (toned(held_out[:, :32, :32], tone) for tone in (red, blue))
    wanted = targets.astype(int)

    def after(steps, tone):
        data = tmp_path / str(len(list(tmp_path.iterdir())))
        write_images(data / "trainA", toned(one, red))
        write_images(data / "trainB", toned(other, tone))
        options = CycleGANOptions(**SMALL, generator=generator, n_blocks=2, steps=steps)
        return train(data, data / "run", options)

    untrained, shuffled = error(after(1, blue), inputs, wanted), error(after(80, tones), inputs, wanted)
    learnt = error(exported(after(80, blue)), inputs, wanted)
    assert learnt < 0.6 * untrained
    assert learnt < 0.6 * np.abs(inputs - wanted).mean()
    assert learnt < 0.75 * shuffled
