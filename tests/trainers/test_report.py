"""The page about a run."""

import re
import xml.etree.ElementTree as ElementTree
from base64 import b64decode

import cv2
import numpy as np
import pytest
from helpers.support import photo_crops, write_images
from helpers.training import train

from trainers import Pix2PixOptions
from trainers.report import read_curves, write_report


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    data, run = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("run") / "<b>run"
    frames = photo_crops(6, 48)
    for split in ("train", "val"):
        write_images(data / "A" / split, frames)
        write_images(data / "B" / split, 255 - frames)
    train(data, run, Pix2PixOptions(size=32, batch=2, steps=30, ngf=4, device="cpu", validate_every=3))
    return run


def test_a_training_ends_with_a_page_of_its_curves_and_samples(run):
    page = (run / "report.html").read_text()
    assert "<title>pix2pix: &lt;b&gt;run</title>" in page
    images = re.findall(r'src="data:image/(svg\+xml|png);base64,([^"]+)"', page)
    assert [kind for kind, _ in images].count("png") == 6
    curves = [b64decode(data) for kind, data in images if kind == "svg+xml"]
    assert len(curves) == 5  # losses, three measures, the learning rate
    for svg in curves:
        assert ElementTree.fromstring(svg).tag.endswith("svg")
    sample = cv2.imdecode(np.frombuffer(b64decode(images[-1][1]), np.uint8), cv2.IMREAD_COLOR)
    assert sample.shape == (4 * 32, 3 * 32, 3)
    assert "step-0000030.png" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_curves_are_those_of_the_logs(run):
    curves = read_curves(run)
    assert [step for step, _ in curves["G_L1"]] == [1, 10, 20, 30]
    assert [step for step, _ in curves["val_l1"]] == list(range(3, 31, 3))
    assert curves["learning_rate"][0][1] == pytest.approx(2e-4)


def test_a_page_can_be_written_again(run):
    before = (run / "report.html").read_bytes()
    notes = {"system": "pix2pix", "step": 30, "losses": {}, "measures": {}, "options": {}}
    assert write_report(run, notes) == run / "report.html"
    assert (run / "report.html").read_bytes() != before
