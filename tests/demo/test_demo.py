"""The demo's plumbing, with hardly any training; what the full training reaches is the demo's own to show."""

import functools
import json
import re
from contextlib import nullcontext
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import pytest
from helpers.clips import copy_through
from helpers.support import assert_refused, invoke, read_clip, read_record

from p2p_deploy import benchmark
from p2p_deploy.cli.demo import check_learnt
from p2p_deploy.demo import crops, photos
from p2p_deploy.errors import Failed, MissingDependency
from p2p_deploy.media.image.files import read_image
from p2p_deploy.pixels import resize


def measured_briefly(bench_batch, model, batch, **durations):
    return bench_batch(model, batch, warmup_ms=0, duration_s=0.1)


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """All of it with a network that is narrow, and a clip that is a quarter as high as the real one."""
    folder = tmp_path_factory.mktemp("demo") / "out"
    clip = folder.with_name(photos.clip().name)
    copy_through(photos.clip(), clip, lambda image: resize(image, 180, 320))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("p2p_deploy.cli.demo.NGF", 4)
        patch.setattr(photos, "clip", lambda: clip)
        patch.setattr(crops, "TRAIN_CROPS", 20)
        patch.setattr(benchmark, "bench_batch", functools.partial(measured_briefly, benchmark.bench_batch))
        result = invoke("demo", "-o", folder, "--steps", 3, "--no-progress")
    assert result.returncode == 0, result.stderr
    return folder, result.stdout


def test_everything_it_names_is_there(demo):
    folder, stdout = demo
    written = re.findall(r"^  (\S+)", stdout[stdout.index("written:") :], re.M)
    assert len(written) == 11
    for path in written:
        assert (folder / path).exists() or (folder.parent / path).exists(), path
    for name in ("L1, astronaut", "L1, cat-held-out", "clip, after", "132 frames, 5.280 s, 249 packets of sound"):
        assert name in stdout


def test_it_trains_exports_and_runs_over_pictures_and_the_clip(demo):
    folder, _ = demo
    figures = json.loads((folder / "figures.json").read_text())
    assert figures["steps"] == 3
    assert figures["export"]["quality"]["max_levels"] <= 1
    assert figures["export"]["plan"]["precision"]["half_convolutions"] == 14
    assert figures["run"]["frames"] == 132 + 6
    assert figures["clip_source"] == figures["clip_output"] == {"frames": 132, "seconds": 5.28, "audio_packets": 249}
    assert set(figures["errors"]) == {*photos.TRAINING_PHOTOS, *photos.HELD_OUT_PHOTOS}
    assert all(line["status"] == "done" for line in read_record(folder / "output")[:-1])
    assert read_image(folder / "output" / "cat-held-out.png")[0].shape == (300, 451, 3)
    assert read_clip(folder / "output" / "bigbuckbunny.mp4")[0][1].shape == (180, 320, 3)


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


def test_the_gallery_shows_pictures_and_clip_and_marks_the_held_out_one(demo):
    page = (demo[0] / "output" / "gallery.html").read_text()
    assert page.count("<figure>") == page.count("data-before=") == 7
    for name in ("astronaut.png", "china.png", "cat-held-out.png", "bigbuckbunny.mp4"):
        assert f">{name}</b>" in page
    assert not set(photos.HELD_OUT_PHOTOS.values()) & set(photos.TRAINING_PHOTOS.values())


@pytest.mark.parametrize(("steps", "error", "enough"), [(1200, 20, False), (1200, 10, True), (3, 20, True)])
def test_a_network_that_has_not_learnt_is_a_failure(steps, error, enough):
    found = crops.L1(network=error, grey=25)
    with nullcontext() if enough else pytest.raises(Failed, match=r"has not learnt to colour: L1 20\.0 levels"):
        check_learnt(found, steps)


def test_the_error_is_what_a_network_that_does_nothing_reaches():
    class Nothing:
        size = (32, 32)

        def __call__(self, grey_NHWC):
            return np.repeat(grey_NHWC, 3, axis=3)

    error = crops.measure(Nothing(), photos.photos()["coffee"], seed=0)
    assert error.network == error.grey > 10


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
