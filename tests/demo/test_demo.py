"""The demo's plumbing, with hardly any training; what the full training reaches is the demo's own to show."""

import json
import re
from contextlib import nullcontext
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import pytest
from helpers.support import assert_refused, invoke, read_clip, read_record

from p2p_deploy.cli.demo import check_learnt
from p2p_deploy.demo import crops, photos
from p2p_deploy.errors import Failed, MissingDependency
from p2p_deploy.media.image.files import read_image


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2p_deploy.cli.demo.NGF", 4)  # the clip is large
        result = invoke("demo", "-o", folder, "--steps", 3, "--no-progress")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_everything_it_names_is_there(demo):
    folder, stdout = demo
    written = re.findall(r"^  (\S+)", stdout[stdout.index("written:") :], re.M)
    assert len(written) == 12
    for path in written:
        assert (folder / path).exists() or (folder.parent / path).exists(), path
    for name in ("L1 on fresh crops", "L1, cat, held out", "clip, frames", "132 of 132", "249 of 249"):
        assert name in stdout


def test_it_trains_exports_and_runs_over_pictures_and_the_clip(demo):
    folder, _ = demo
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["training"]["steps"] == 3
    assert figures["export"]["quality"]["max_levels"] <= 1
    assert figures["export"]["plan"]["precision"]["half_convolutions"] == 14
    assert figures["run"]["frames"] == 132 + 2 * 6
    assert figures["clip"]["source"] == figures["clip"]["output"]
    assert set(figures["L1"]) == {*photos.TRAINING_PHOTOS, *photos.HELD_OUT_PHOTOS}
    assert all(line["status"] == "done" for line in read_record(folder / "output")[:-1])
    assert read_image(folder / "output" / "grey" / "cat.png")[0].shape == (300, 451, 3)
    assert read_clip(folder / "output" / "bigbuckbunny.mp4")[0][1].shape == (720, 1280, 3)


def compare_clip(model: Path, source: Path, output: Path) -> list[tuple[float, float]]:
    """For each frame: PSNR against a session called directly, and mean difference from the input, grey levels."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    found = []
    with av.open(str(source)) as before, av.open(str(output)) as after:
        for fed, got in zip(before.decode(video=0), after.decode(video=0), strict=True):
            # The stream carries no matrix; at 720 lines it is BT.709.
            rgb, result = (
                frame.reformat(format="rgb24", src_colorspace="ITU709", dst_color_range="JPEG").to_ndarray()
                for frame in (fed, got)
            )
            grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
            grey = np.pad(grey, ((0, -len(grey) % 128), (0, -grey.shape[1] % 128)), "reflect")
            direct = session.run(None, {"frames": grey[None, :, :, None]})[0][0][: len(rgb), : rgb.shape[1]]
            found.append((cv2.PSNR(direct, result), float(np.abs(rgb.astype(int) - result).mean())))
    return found


def test_every_frame_of_the_clip_is_the_networks_and_not_the_sources(demo):
    folder, _ = demo
    clip = "bigbuckbunny.mp4"
    found = compare_clip(folder / "model" / "colouring.onnx", folder / "input" / clip, folder / "output" / clip)
    assert len(found) == 132
    assert min(psnr for psnr, _ in found) > 35  # the codec's loss
    assert min(difference for _, difference in found) > 5


def test_the_page_shows_triplets_and_marks_the_held_out_one(demo):
    page = (demo[0] / "index.html").read_text()
    assert page.count("<figure>") == 6
    assert page.count("data:image/jpeg;base64,") == 2 * 18 + 2
    assert page.count("held out: never seen in training") == 1
    held_out = re.search(r"<figcaption>cat <b>held out", page)
    assert held_out
    for side in ("input", "output"):
        assert f'src="{side}/bigbuckbunny.mp4"' in page
    assert "http" not in page  # self-contained


@pytest.mark.parametrize(("steps", "error", "enough"), [(700, 0.2, False), (700, 0.1, True), (3, 0.2, True)])
def test_a_network_that_has_not_learnt_is_a_failure(steps, error, enough):
    found = crops.L1(network=error, grey=0.25, mean_colour=0.3)
    with nullcontext() if enough else pytest.raises(Failed, match=r"has not learnt to colour: L1 0\.200"):
        check_learnt(found, steps)


def test_an_existing_folder_is_refused(demo):
    assert_refused(invoke("demo", "-o", demo[0]), "exists already", "--overwrite")


def test_crops_that_are_measured_on_are_not_those_that_are_trained_on(tmp_path):
    path = photos.photos()["coffee"]
    photo = read_image(path)[0]

    def some(seed):
        random = np.random.default_rng(seed)
        return [crops.cut(photo, random, 32).tobytes() for _ in range(20)]

    assert not set(some(crops.TRAIN_SEED)) & set(some(crops.TEST_SEED))


def test_without_the_packages_the_extra_is_named():
    with pytest.raises(MissingDependency, match=r"no-such-package, which is not installed.*p2p-deploy\[demo\]"):
        photos.locate("no-such-package", "x.png")
    with pytest.raises(MissingDependency, match="has no file"):
        photos.locate("scikit-image", "skimage/data/no-such.png")
