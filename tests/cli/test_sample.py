"""``p2p sample``, and what the other commands make of a network that draws."""

import json

import numpy as np
import pytest
from helpers.support import assert_refused, drawing_generator, invoke, latent_spec, leftovers, photo_crops, write_images

import p2p_deploy
from p2p_deploy import latents, sampling
from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.errors import Failed, InputError, OptionError
from p2p_deploy.exporter.export import export
from p2p_deploy.media.image.files import ImageSink, read_image
from p2p_deploy.options import ExportOptions
from p2p_deploy.spec import ImageSpec

CLASSES = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """gan.pt and gan.onnx, and the same of cgan with a plan."""
    folder = tmp_path_factory.mktemp("gan")
    for name, classes in (("gan", 0), ("cgan", CLASSES)):
        spec = latent_spec(classes=classes).with_changes(name=name)
        save_checkpoint(folder / f"{name}.pt", spec, drawing_generator(spec), {"classes": [*"abcde"][:classes]})
        export(folder / f"{name}.pt", folder / f"{name}.onnx", ExportOptions(trt=bool(classes)))
    return folder


def sample(*arguments):
    result = invoke("sample", *arguments)
    assert result.returncode == 0, result.stderr
    return result


def pictures(folder):
    """(N, H, W) of what lies there, in order of name."""
    return np.stack([read_image(path)[0][:, :, 0] for path in sorted(folder.glob("*.png"))])


class TestFiles:
    def test_writes_numbered_pictures_and_says_so(self, folder, tmp_path):
        report = json.loads(sample(folder / "gan.onnx", tmp_path / "out", "-n", 70, "--json").stdout)
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == [f"{number:05d}.png" for number in range(70)]
        drawn = pictures(tmp_path / "out")
        assert drawn.shape == (70, 12, 12)
        assert drawn.std(axis=0).mean() > 20  # not all alike
        assert (report["pictures"], report["seed"], report["size"], report["class"]) == (70, 0, [12, 12], "all")
        assert report["pictures_per_second"] > 0
        assert "64 pictures in" in sample(folder / "gan.onnx", tmp_path / "more").stdout

    def test_the_same_seed_gives_the_same_bytes_however_many_are_drawn(self, folder, tmp_path):
        for name, count, seed in (("ten", 10, 3), ("hundred", 100, 3), ("other", 10, 4)):
            sample(folder / "cgan.onnx", tmp_path / name, "-n", count, "--seed", seed)
        for path in (tmp_path / "ten").iterdir():
            assert path.read_bytes() == (tmp_path / "hundred" / path.name).read_bytes()
            assert path.read_bytes() != (tmp_path / "other" / path.name).read_bytes()

    def test_they_do_not_depend_on_the_batch(self, folder, tmp_path, monkeypatch):
        sample(folder / "cgan.onnx", tmp_path / "one", "-n", 30)
        monkeypatch.setattr(sampling, "BATCH", 7)
        sample(folder / "cgan.onnx", tmp_path / "other", "-n", 30)
        one, other = (pictures(tmp_path / name).astype(int) for name in ("one", "other"))
        assert np.abs(one - other).max() <= 1

    def test_a_checkpoint_gives_the_pictures_of_its_export(self, folder, tmp_path):
        for suffix in (".pt", ".onnx"):
            sample(folder / f"cgan{suffix}", tmp_path / suffix[1:], "-n", 30)
        torch, onnx = (pictures(tmp_path / name).astype(int) for name in ("pt", "onnx"))
        assert np.abs(torch - onnx).max() <= 1

    def test_values_become_the_same_pictures(self, folder, tmp_path):
        export(folder / "gan.pt", tmp_path / "values.onnx", ExportOptions(io="float32"))
        sample(tmp_path / "values.onnx", tmp_path / "values", "-n", 9)
        sample(folder / "gan.onnx", tmp_path / "bytes", "-n", 9)
        values, expected = (pictures(tmp_path / name).astype(int) for name in ("values", "bytes"))
        assert np.abs(values - expected).max() <= 1

    def test_one_class_or_all_in_turn(self, folder, tmp_path):
        for label in ("all", 3):
            sample(folder / "cgan.onnx", tmp_path / str(label), "-n", 10, "--class", label)
        every, third = pictures(tmp_path / "all"), pictures(tmp_path / "3")
        np.testing.assert_array_equal(every[[3, 8]], third[[3, 8]])  # the fourth of five
        assert all((every[number] != third[number]).any() for number in (0, 1, 2, 4, 5, 6, 7, 9))

    def test_what_is_there_stays_unless_it_may_be_replaced(self, folder, tmp_path):
        arguments = ("sample", folder / "gan.onnx", tmp_path / "out", "-n", 3)
        write_images(tmp_path / "out", photo_crops(1, 8))  # 000.png, which is no name of ours
        (tmp_path / "out" / "00003.png").write_text("beyond")
        assert invoke(*arguments).returncode == 0
        before = (tmp_path / "out" / "00001.png").read_bytes()
        assert_refused(invoke(*arguments, "--seed", 1), "00000.png and 2 more exists already", "--overwrite")
        assert (tmp_path / "out" / "00001.png").read_bytes() == before
        assert invoke(*arguments, "--seed", 1, "--overwrite").returncode == 0
        assert (tmp_path / "out" / "00001.png").read_bytes() != before
        assert (tmp_path / "out" / "00003.png").read_text() == "beyond"
        assert not leftovers(tmp_path / "out")

    def test_a_place_that_is_none(self, folder, tmp_path):
        (tmp_path / "file").write_text("precious")
        assert_refused(invoke("sample", folder / "gan.onnx", tmp_path / "file"), "file cannot be used as a folder")
        assert_refused(invoke("sample", folder / "gan.onnx", tmp_path / "file" / "out"), "Choose another place")
        assert (tmp_path / "file").read_text() == "precious"
        (tmp_path / "out" / "00001.png").mkdir(parents=True)
        result = invoke("sample", folder / "gan.onnx", tmp_path / "out", "--overwrite")
        assert_refused(result, "00001.png is a folder")
        assert len(list((tmp_path / "out").iterdir())) == 1

    def test_a_disk_that_fails_leaves_whole_pictures_only(self, folder, tmp_path, monkeypatch):
        close = ImageSink.close

        def fail(sink):
            if sink.path.name == "00070.png":
                raise Failed("the disk is full")
            close(sink)

        monkeypatch.setattr(ImageSink, "close", fail)
        assert_refused(invoke("sample", folder / "gan.onnx", tmp_path / "out", "-n", 100), "the disk is full")
        assert not leftovers(tmp_path / "out")
        assert len(pictures(tmp_path / "out")) >= 64  # the first batch, and whole


class TestGrid:
    def test_a_row_after_the_other(self, folder, tmp_path):
        sample(folder / "gan.onnx", tmp_path / "out", "-n", 7)
        sample(folder / "gan.onnx", tmp_path / "grid.png", "-n", 7, "--grid", "--no-progress")
        grid = read_image(tmp_path / "grid.png")[0][:, :, 0]
        assert grid.shape == (36, 36)
        for number, picture in enumerate(pictures(tmp_path / "out")):
            row, column = divmod(number, 3)
            np.testing.assert_array_equal(grid[row * 12 :, column * 12 :][:12, :12], picture)
        assert not grid[24:, 12:].any()

    @pytest.mark.parametrize(
        ("label", "count", "shape"), [("all", 12, (36, 60)), ("all", 3, (12, 36)), (2, 12, (36, 48))]
    )
    def test_a_column_for_each_class(self, folder, tmp_path, label, count, shape):
        sample(folder / "cgan.onnx", tmp_path / "grid.png", "-n", count, "--grid", "--class", label)
        assert read_image(tmp_path / "grid.png")[0].shape[:2] == shape

    def test_refusals(self, folder, tmp_path):
        model = folder / "gan.onnx"
        assert_refused(invoke("sample", model, tmp_path / "out", "--grid"), "out is no name for a grid", ".png")
        result = invoke("sample", model, tmp_path / "x.png", "--grid", "-n", 10**9)
        assert_refused(result, "A grid of 1000000000 pictures would be", "leave out --grid")
        (tmp_path / "x.png").write_text("precious")
        assert_refused(invoke("sample", model, tmp_path / "x.png", "--grid"), "x.png exists already")
        assert (tmp_path / "x.png").read_text() == "precious"
        sample(model, tmp_path / "x.png", "--grid", "--overwrite", "--progress")
        assert [path.name for path in tmp_path.iterdir()] == ["x.png"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("model", "options", "words"),
        [
            ("gan.onnx", ("--class", 1), "gan was trained without classes"),
            ("cgan.onnx", ("--class", 5), "Class 5 was asked for; cgan has the classes 0 to 4"),
            ("gan.onnx", ("--device", "cuda:0"), "cuda:0 was asked for"),
            ("cgan.plan", (), "cgan.onnx OUT"),
            ("nothing.onnx", (), "does not exist"),
        ],
    )
    def test_in_a_sentence_before_anything_is_written(self, folder, tmp_path, model, options, words):
        assert_refused(invoke("sample", folder / model, tmp_path / "out", *options), words)
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "options", [("-n", 0), ("--seed", -1), ("--class", "x"), ("--class", "-1"), ("--class", "1" * 99)]
    )
    def test_arguments_that_mean_nothing(self, folder, tmp_path, options):
        assert invoke("sample", folder / "cgan.onnx", tmp_path / "out", *options).returncode == 2
        assert not (tmp_path / "out").exists()

    def test_a_network_that_takes_pictures(self, identity, tmp_path):
        result = invoke("sample", identity, tmp_path / "out")
        assert_refused(result, "takes frames and no latent vector", "p2p run MODEL IN OUT")

    def test_the_library_refuses_too(self, folder, tmp_path):
        with p2p_deploy.load(folder / "cgan.onnx") as model:
            for options in ({"count": 0}, {"label": -1}, {"label": CLASSES}):
                with pytest.raises((OptionError, InputError)):
                    p2p_deploy.sample(model, tmp_path / "out", p2p_deploy.SampleOptions(**options))
        assert not (tmp_path / "out").exists()


class TestOtherCommands:
    @pytest.mark.parametrize("name", ["gan", "cgan"])
    def test_run_names_the_command_that_draws(self, folder, tmp_path, name):
        write_images(tmp_path / "in", photo_crops(1, 12))
        result = invoke("run", folder / f"{name}.onnx", tmp_path / "in", tmp_path / "out")
        assert_refused(result, f"{name} draws pictures from latent vectors", "p2p sample MODEL OUT")
        assert not (tmp_path / "out").exists()

    def test_info_says_what_goes_in(self, folder):
        for suffix in (".pt", ".onnx", ".plan"):
            facts = json.loads(invoke("info", folder / f"cgan{suffix}", "--json").stdout)
            assert facts["input"] == "latent float32, (N, 8) and class 0 to 4 int32, (N, 1)"
            assert (facts["size"], facts["architecture"]) == ("12x12", "mlp")

    def test_verify_draws_what_it_judges_on(self, folder, tmp_path):
        arguments = ("verify", folder / "cgan.onnx", "--against", folder / "cgan.pt")
        result = invoke(*arguments)
        assert result.returncode == 0, result.stderr
        assert "on 64 images" in result.stdout
        write_images(tmp_path, photo_crops(1, 12))
        assert_refused(invoke(*arguments, "--check", tmp_path), "draws pictures and takes none", "Leave out --check")
        other = invoke("verify", folder / "cgan.onnx", "--against", folder / "gan.pt")
        assert_refused(other, "takes latent vectors of 8 numbers and 5 classes and gives")
        spec = latent_spec(classes=CLASSES)
        save_checkpoint(tmp_path / "other.pt", spec, drawing_generator(spec, seed=1), {})
        assert_refused(invoke("verify", folder / "cgan.onnx", "--against", tmp_path / "other.pt"), "Export it again")

    def test_bench_measures_it(self, folder):
        result = invoke("bench", folder / "cgan.onnx", "--duration-s", 0, "--warmup-ms", 0, "--batch", 3, "--json")
        assert json.loads(result.stdout)["results"][0]["images_per_second"] > 0

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--size", "13x13"), "does not suit mlp"),
            (("--size", "24x24"), "has the size 12x12 in its weights"),
            (("--dynamic",), "has the size 12x12 in its weights"),
            (("--norm-stats", "instance"), "has no BatchNorm"),
        ],
    )
    def test_export_refuses_what_does_not_suit(self, folder, tmp_path, options, words):
        assert_refused(invoke("export", folder / "gan.pt", "-o", tmp_path, *options), words)
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        "inputs", [(ImageSpec.for_latent(9),), (ImageSpec.for_latent(8), ImageSpec.for_class(3))], ids=["z", "class"]
    )
    def test_a_checkpoint_that_says_something_else_than_its_network_is_refused(self, tmp_path, inputs):
        spec = latent_spec()
        save_checkpoint(tmp_path / "x.pt", spec.with_changes(inputs=inputs), drawing_generator(spec), {})
        assert_refused(invoke("export", tmp_path / "x.pt", "-o", tmp_path), "does not take what its ModelSpec says")
        assert_refused(invoke("sample", tmp_path / "x.pt", tmp_path / "out"), "PyTorch failed on a batch of 64")
        assert not leftovers(tmp_path)

    def test_every_class_is_judged(self, tmp_path):
        spec = latent_spec(classes=100)
        save_checkpoint(tmp_path / "many.pt", spec, drawing_generator(spec), {})
        report = export(tmp_path / "many.pt", tmp_path / "many.onnx")
        assert report.quality.images == 100


def test_the_numbers_of_a_picture_depend_on_its_seed_and_number_only():
    spec = latent_spec(classes=3)

    def first(count, batch):
        drawn = latents.draw(spec, 5, batch)
        parts = [next(drawn) for _ in range(-(-count // batch))]
        return [np.concatenate(arrays)[:count] for arrays in zip(*parts, strict=True)]

    vectors, classes = first(50, 50)
    for batch in (1, 7, 64):
        np.testing.assert_array_equal(first(50, batch)[0], vectors)
        np.testing.assert_array_equal(first(50, batch)[1], classes)
    assert classes[:5, 0].tolist() == [0, 1, 2, 0, 1]
    many = next(latents.draw(spec, 0, 10_000))[0]
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02
