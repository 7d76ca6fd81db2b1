"""Networks that take label maps, from somebody's checkpoint to pictures."""

import json

import numpy as np
import pytest
import torch
from helpers import layouts
from helpers.support import assert_refused, invoke, leftovers, photo, read_record
from PIL import Image

import p2p_deploy
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import ExportError
from p2p_deploy.exporter.export import export
from p2p_deploy.generators.frame_model import FrameModel
from p2p_deploy.media.image import maps
from p2p_deploy.media.image.files import read_image
from p2p_deploy.options import Assumptions, ExportOptions

SIZE = (64, 96)


def save_weights(path, table, scale=1.0):
    """Random weights that neither fade nor grow from layer to layer; spectral norm as it is after many steps."""
    torch.manual_seed(0)
    weights = {}
    for key, shape in table.items():
        fan_in = torch.Size(shape[1:]).numel() if len(shape) == 4 else 100
        weights[key] = torch.randn(shape) * scale * fan_in**-0.5 if shape else torch.tensor(0)
        if key.endswith("running_var"):
            weights[key] = weights[key].abs() + 1
    for key in [key for key in weights if key.endswith("_orig")]:
        left, _, right = torch.linalg.svd(weights[key].flatten(1), full_matrices=False)
        stem = key.removesuffix("_orig")
        weights[f"{stem}_u"], weights[f"{stem}_v"] = left[:, 0].contiguous(), right[0].contiguous()
    torch.save(weights, path)
    return path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """pix2pixHD's global generator for five classes and edges, small."""
    return save_weights(tmp_path_factory.mktemp("hd") / "latest_net_G.pth", layouts.resnet(1, ngf=4, into=6, downs=3))


@pytest.fixture(scope="module")
def exported(checkpoint, tmp_path_factory):
    options = ExportOptions(sizes=(SIZE,), trt=True)
    return export(checkpoint, tmp_path_factory.mktemp("exported") / "hd.onnx", options)


@pytest.fixture
def data(tmp_path):
    """Folders of label maps (one indexed, one of another size) and instance maps, and what is in them."""
    found = {}
    for name, size in (("astronaut.png", SIZE), ("coffee.png", SIZE), ("rocket.jpg", (80, 50))):
        labels = maps.draw_labels(photo(name), 5)[: size[0], : size[1]]
        both = maps.with_regions(labels)
        stem = name.partition(".")[0]
        image = Image.fromarray(labels[:, :, 0].astype(np.uint8), "P" if stem == "coffee" else "L")
        if stem == "coffee":
            image.putpalette([(91 * index + 7) % 256 for index in range(768)])
        for folder, picture in (
            ("labels", image),
            ("instances", Image.fromarray((both[:, :, 1] + 26_000).astype(np.uint16))),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            picture.save(tmp_path / folder / f"{stem}.png")
        found[stem] = both
    return found


def expected(checkpoint, both_HWC):
    """What PyTorch gives for one pair of maps at their own size."""
    loaded = load_checkpoint(checkpoint)
    labels, instances = both_HWC[None, :, :, :1], both_HWC[None, :, :, 1:]
    with torch.inference_mode():
        return FrameModel(loaded.generator, loaded.spec)(torch.from_numpy(labels), torch.from_numpy(instances)).numpy()[
            0
        ]


def test_edges_and_classes_are_in_the_graph(exported, checkpoint, data):
    assert [image.kind for image in exported.spec.inputs] == ["labels", "instances"]
    assert exported.quality.max_levels <= 1
    assert exported.quality.reference_std > 20
    with p2p_deploy.load(exported.onnx) as model:
        both = data["astronaut"]
        labels, instances = both[None, :, :, :1].astype(np.uint8), both[None, :, :, 1:]
        output = model(labels, instances)[0].astype(int)
        assert np.abs(output - expected(checkpoint, both)).max() <= 1
        assert np.abs(model(labels, instances + 7)[0].astype(int) - output).max() == 0  # only edges matter
        assert np.abs(model(labels, np.zeros_like(instances))[0].astype(int) - output).max() > 5
        with pytest.raises(ValueError, match=r"expected 2 arrays \(labels, instances\), got 1"):
            model(labels)
        with pytest.raises(ValueError, match=r"expected int32 instances of shape \(N, 64, 96, 1\), got uint8"):
            model(labels, labels)
        with pytest.raises(ValueError, match="expected arrays of one size"):
            model(np.repeat(labels, 2, axis=0), instances)


def test_a_folder_of_maps_becomes_a_folder_of_pictures(exported, checkpoint, data, tmp_path):
    result = invoke(
        "run", exported.onnx, tmp_path / "labels", tmp_path / "out", "--instances", tmp_path / "instances", "--json"
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["done"] == 3
    for stem in ("astronaut", "coffee"):
        written = read_image(tmp_path / "out" / f"{stem}.png")[0].astype(int)
        assert np.abs(written - expected(checkpoint, data[stem])).max() <= 1
    assert read_image(tmp_path / "out" / "rocket.png")[0].shape == (80, 50, 3)


def test_each_broken_map_is_recorded_and_the_rest_goes_on(exported, data, tmp_path):
    wrong = np.full((64, 96), 5, np.uint8)
    Image.fromarray(wrong).save(tmp_path / "labels" / "range.png")
    Image.fromarray(wrong).save(tmp_path / "instances" / "range.png")
    Image.fromarray(wrong * 0).save(tmp_path / "labels" / "alone.png")
    Image.fromarray(np.zeros((64, 96, 3), np.uint8)).save(tmp_path / "labels" / "colours.png")
    Image.fromarray(wrong).save(tmp_path / "instances" / "colours.png")
    result = invoke("run", exported.onnx, tmp_path / "labels", tmp_path / "out", "--instances", tmp_path / "instances")
    assert result.returncode == 1
    errors = {line["input"]: line["error"] for line in read_record(tmp_path / "out") if line.get("error")}
    assert errors.keys() == {"range.png", "alone.png", "colours.png"}
    assert "has the labels 5; the model knows 0 to 4" in errors["range.png"]
    assert "has no map of instances" in errors["alone.png"]
    assert "holds colours" in errors["colours.png"]
    assert not leftovers(tmp_path / "out")


def test_instances_are_asked_for_before_any_work(exported, identity, data, tmp_path):
    out = tmp_path / "out"
    assert_refused(invoke("run", exported.onnx, tmp_path / "labels", out), "--instances DIR")
    one = tmp_path / "instances" / "coffee.png"
    for wrong, words in ((tmp_path / "nowhere", "does not exist"), (one, "is one file, and")):
        assert_refused(invoke("run", exported.onnx, tmp_path / "labels", out, "--instances", wrong), words)
    assert_refused(
        invoke("run", identity, tmp_path / "labels", out, "--instances", tmp_path / "instances"),
        "takes no instance maps",
    )
    assert not out.exists()


def test_the_checkpoint_itself_runs_too(checkpoint, data, tmp_path):
    with p2p_deploy.load(checkpoint) as model:
        both = data["astronaut"]
        output = model(both[None, :, :, :1].astype(np.uint8), both[None, :, :, 1:])[0]
        np.testing.assert_array_equal(output, expected(checkpoint, both))


def test_own_label_maps_can_be_checked_with(checkpoint, data, tmp_path):
    options = ExportOptions(sizes=(SIZE,), check=tmp_path / "labels")
    assert export(checkpoint, tmp_path / "x.onnx", options).quality.images == 3


class TestPlans:
    def test_are_built_for_labels_and_instances(self, exported):
        assert exported.plan.precision.half_share == 1
        (profile,) = json.loads(exported.plan.sidecar.read_text())["profiles"]
        assert profile == {"batch": [1, 4, 16], "height": [64, 64, 64], "width": [96, 96, 96]}

    @pytest.mark.parametrize(
        ("name", "table", "options"),
        [
            ("local", layouts.local_enhancer(5, ngf=4, downs=2, blocks=1, local_blocks=1), {"sizes": ((64, 64),)}),
            ("spade vae", layouts.spade(4, ngf=4, kind="instance", z_dim=8, places=4), {}),
            ("many classes", layouts.resnet(1, ngf=2, into=301, downs=1), {"sizes": ((32, 32),)}),
            ("unet upsample", layouts.gan_unet(5, ngf=4), {"sizes": ((64, 64),)}),
            ("resnet resize", layouts.gan_resnet(1, ngf=4), {"sizes": ((64, 64),)}),
        ],
    )
    def test_of_every_family_in_half(self, name, table, options, tmp_path):
        path = save_weights(tmp_path / "latest_net_G.pth", table)
        report = export(path, tmp_path / "x.onnx", ExportOptions(trt=True, **options))
        assert report.quality.max_levels <= 1
        assert report.plan.quality.psnr_db > 40
        assert report.plan.precision.half_share > 0.9
        assert report.plan.plan.stat().st_size > 1000


class TestEncoded:
    """What an encoder would give is zeros, or a file."""

    def test_features_of_each_class_change_the_picture(self, data, tmp_path):
        path = save_weights(tmp_path / "net.pth", layouts.resnet(1, ngf=4, into=9, downs=1))
        np.save(tmp_path / "each.npy", np.random.default_rng(0).normal(0, 3, (5, 3)))
        labels, instances = data["astronaut"][None, :, :, :1].astype(np.uint8), data["astronaut"][None, :, :, 1:]
        pictures = []
        for name in (None, "each.npy"):
            assume = Assumptions(features=3, encoded=name and tmp_path / name)
            options = ExportOptions(sizes=(SIZE,), assume=assume, overwrite=True)
            with p2p_deploy.load(export(path, tmp_path / "x.onnx", options).onnx) as model:
                pictures.append(model(labels, instances).astype(int))
        assert np.abs(pictures[0] - pictures[1]).mean() > 1
        np.save(tmp_path / "one.npy", np.float32([3, -3, 2]))  # the same for every class
        lookup = load_checkpoint(path, Assumptions(features=3, encoded=tmp_path / "one.npy")).generator.lookup.weight
        assert lookup[:, 4].ravel().tolist() == [3, -3, 2]

    def test_a_latent_vector_too(self, tmp_path):
        path = save_weights(tmp_path / "net.pth", layouts.spade(4, ngf=4, z_dim=8, places=8))
        np.save(tmp_path / "z.npy", np.arange(8))
        generators = [load_checkpoint(path, Assumptions(encoded=file)).generator for file in (None, tmp_path / "z.npy")]
        labels = torch.zeros(1, 4, *load_checkpoint(path).spec.fixed_size)
        with torch.inference_mode():
            assert (generators[0](labels) - generators[1](labels)).abs().mean() > 0.01

    @pytest.mark.parametrize(
        ("numbers", "words"),
        [
            (np.zeros(4), r"holds float64 of shape \(4,\); expected finite numbers of the shape \(3,\) or \(5, 3\)"),
            (np.array([1, np.nan, 0]), "expected finite numbers"),
            (np.array(["a", "b", "c"]), "expected finite numbers"),
            (np.array([{}, {}, {}], dtype=object), r"is not a \.npy file of numbers"),
            (np.array([1e300, 0, 0]), "expected finite numbers"),
        ],
    )
    def test_files_that_do_not_fit_are_refused(self, numbers, words, tmp_path):
        path = save_weights(tmp_path / "net.pth", layouts.resnet(1, ngf=4, into=9, downs=1))
        np.save(tmp_path / "x.npy", numbers, allow_pickle=True)
        result = invoke("info", path, "--arch-features", "3", "--arch-encoded", tmp_path / "x.npy")
        assert_refused(result)
        assert __import__("re").search(words, result.stderr), result.stderr

    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00{'descr': '<f8', "])
    def test_files_that_are_none_are_refused(self, content, tmp_path):
        path = save_weights(tmp_path / "net.pth", layouts.resnet(1, ngf=4, into=9, downs=1))
        (tmp_path / "x.npy").write_bytes(content)
        result = invoke("info", path, "--arch-features", "3", "--arch-encoded", tmp_path / "x.npy")
        assert_refused(result, "is not a .npy file of numbers")

    def test_networks_without_an_encoder_take_none(self, checkpoint, tmp_path):
        np.save(tmp_path / "x.npy", np.zeros(3))
        assert_refused(
            invoke("info", checkpoint, "--arch-encoded", tmp_path / "x.npy"), "takes nothing from an encoder"
        )


def test_a_size_that_is_in_the_weights_cannot_be_changed(tmp_path):
    path = save_weights(tmp_path / "net.pth", layouts.spade(4, ngf=4, z_dim=8, places=8))
    for options in (ExportOptions(dynamic=True), ExportOptions(sizes=((128, 128),))):
        with pytest.raises(ExportError, match="has the size 64x128 in its weights"):
            export(path, tmp_path / "x.onnx", options)
    assert load_checkpoint(path).spec.fixed_size == (64, 128)


def test_export_says_what_it_recognised(checkpoint, tmp_path):
    result = invoke("export", checkpoint, "-o", tmp_path, "--size", "64x64", "--arch-labels", "5")
    assert "recognised: the global generator of pix2pixHD; 1 blocks, 3 downs, ngf 4, instance norm" in result.stderr
    assert "assumed: pixels are -1 to 1" in result.stderr


def test_info_says_what_was_inferred_and_what_was_assumed(checkpoint):
    said = invoke("info", checkpoint).stdout
    for words in (
        "the global generator of pix2pixHD",
        "1 blocks, 3 downs, ngf 4, instance norm",
        "the 6 input channels are a one-hot label map and the edges of instances: 5 classes",
        "labels 0 to 4 uint8, (N, H, W, 1) and instances int32, (N, H, W, 1)",
        "trained at 512x1024 pixels, the published size",
    ):
        assert words in said, said
    said = invoke("info", checkpoint, "--arch-labels", "6").stdout
    assert "labels 0 to 5 uint8" in said
    assert "otherwise say" not in said
