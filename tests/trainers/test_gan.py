"""GAN and CGAN on the 8 x 8 digits of scikit-learn (Alpaydin, Kaynak, 1998), which lie inside the package."""

import shutil
import threading

import numpy as np
import pytest
import torch
from helpers.support import photo_crops, write_images
from helpers.training import train
from sklearn.datasets import load_digits

import p2p_deploy
from p2p_deploy import latents
from p2p_deploy.checkpoints import load_checkpoint
from p2p_deploy.errors import DataError, P2PError
from p2p_deploy.exporter.export import export
from p2p_deploy.media.image.files import read_image
from p2p_deploy.pixels import resize
from trainers import CGANOptions, GANOptions, gan, health
from trainers.classes import find_classes, find_pictures
from trainers.discriminators import MLPDiscriminator
from trainers.gan import GAN, make_spec
from trainers.launch import make_fabric

SIZE = 8
LEARNT = 1400  # of 1797 digits; the others are held out


@pytest.fixture(scope="module")
def digits():
    """Pictures (N, SIZE, SIZE, 1) uint8 and their classes (N,)."""
    found = load_digits()
    pictures = (found.images * 15.9375).astype(np.uint8)[..., None]
    return np.stack([resize(picture, SIZE, SIZE) for picture in pictures]), found.target


@pytest.fixture
def few(digits, tmp_path):
    """Forty digits in folders of their classes."""
    write_classes(tmp_path / "data", digits[0][:40], digits[1][:40])
    return tmp_path / "data"


def write_classes(data, pictures, classes):
    for number in np.unique(classes):
        write_images(data / "train" / f"digit-{number}", pictures[classes == number])


def options(**changes):
    small = {"size": SIZE, "z_dim": 16, "ngf": 32, "batch": 8, "steps": 6, "device": "cpu"}
    kind = CGANOptions if changes.pop("conditional", False) else GANOptions
    return kind(**{**small, **changes})


def pictures_of(path, count):
    """What a model draws, and the classes it was told, if any."""
    with p2p_deploy.load(path) as model:
        inputs = next(latents.draw(model.spec, 0, count))
        return model(*inputs), inputs[1][:, 0] if len(inputs) > 1 else None


def frechet(one, other, components=10):
    """Squared Frechet distance in the principal components of ``other``, over its variance there: 0 where they agree.

    Heusel et al.: GANs Trained by a Two Time-Scale Update Rule (NeurIPS 2017), with other features.
    """
    one, other = (pictures.reshape(len(pictures), -1).astype(float) for pictures in (one, other))
    centre = other.mean(axis=0)
    axes = np.linalg.svd(other - centre, full_matrices=False)[2][:components]
    a, b = ((pictures - centre) @ axes.T for pictures in (one, other))
    first, second = (np.cov(each, rowvar=False) for each in (a, b))
    root = np.sqrt(np.maximum(np.linalg.eigvals(first @ second).real, 0)).sum()
    distance = ((a.mean(axis=0) - b.mean(axis=0)) ** 2).sum() + np.trace(first) + np.trace(second) - 2 * root
    return distance / np.trace(second)


def accuracy(pictures, classes, digits):
    """Share of pictures whose nearest mean, of the digits that were learnt from, is that of their class."""
    known, of = digits[0][:LEARNT].reshape(LEARNT, -1).astype(float), digits[1][:LEARNT]
    means = np.stack([known[of == number].mean(axis=0) for number in range(10)])
    distances = np.linalg.norm(pictures.reshape(len(pictures), 1, -1) - means, axis=2)
    return (distances.argmin(axis=1) == classes).mean()


class TestLearning:
    @pytest.fixture(autouse=True)
    def haste(self, monkeypatch):
        """What is small learns faster."""
        monkeypatch.setattr(gan, "LEARNING_RATE", 5e-4)

    def drawn(self, data, run, **changes):
        """The checkpoint of a training, and what it draws."""
        small = {"z_dim": 8, "ndf": 128, "batch": 64, "ema": 0.99, "save_every": 10**6, "validate_every": 10**6}
        checkpoint = train(data, run, options(**{**small, **changes}))
        return checkpoint, *pictures_of(checkpoint, 500)

    @pytest.mark.parametrize("scrambled", [False, True])
    def test_what_a_gan_draws_is_distributed_like_what_it_learnt_from(self, digits, tmp_path, scrambled):
        """Judged by digits it never saw; of those whose pixels were scrambled it does not learn how digits look."""
        learnt, held_out = digits[0][:LEARNT], digits[0][LEARNT:]
        assert frechet(learnt, held_out) < 0.1
        if scrambled:
            order = np.random.default_rng(0).permutation(SIZE * SIZE)
            learnt = learnt.reshape(LEARNT, -1)[:, order].reshape(learnt.shape)
        write_images(tmp_path / "data" / "train", learnt)
        _, untrained, _ = self.drawn(tmp_path / "data", tmp_path / "untrained", steps=1)
        _, drawn, _ = self.drawn(tmp_path / "data", tmp_path / "run", steps=500)
        share = frechet(drawn, held_out) / frechet(untrained, held_out)
        assert share > 0.7 if scrambled else share < 0.6

    @pytest.mark.parametrize("shuffled", [False, True])
    def test_a_cgan_draws_the_class_it_is_told_and_so_does_its_export(self, digits, tmp_path, shuffled):
        """Where classes are dealt out at random there is nothing to learn of them."""
        pictures, classes = (array[:LEARNT] for array in digits)
        dealt = np.random.default_rng(0).permutation(classes) if shuffled else classes
        write_classes(tmp_path / "data", pictures, dealt)
        assert accuracy(digits[0][LEARNT:], digits[1][LEARNT:], digits) > 0.8  # the judge itself
        checkpoint, drawn, wanted = self.drawn(tmp_path / "data", tmp_path / "run", steps=400, conditional=True)
        found = accuracy(drawn, wanted, digits)
        assert found < 0.3 if shuffled else found > 0.7
        report = export(checkpoint, tmp_path / "digits.onnx")
        assert accuracy(*pictures_of(report.onnx, 500), digits) == pytest.approx(found, abs=0.02)


class TestCheckpoint:
    def test_says_what_it_is(self, few, tmp_path):
        seen = []
        path = train(few, tmp_path / "run", options(conditional=True), on_progress=seen.append)
        checkpoint = load_checkpoint(path)
        assert checkpoint.training["system"] == "cgan"
        assert checkpoint.training["classes"] == [f"digit-{number}" for number in range(10)]
        assert checkpoint.training["pictures"] == 40
        assert checkpoint.training["step"] == 6
        assert [image.kind for image in checkpoint.spec.inputs] == ["latent", "class"]
        assert checkpoint.spec.fixed_size == (SIZE, SIZE)
        assert set(seen[-1].losses) == {"D_real", "D_fake", "G_gan"}
        assert seen[-1].measures == {}
        assert not (tmp_path / "run" / "best.pt").exists()

    def test_of_a_gan_has_no_classes(self, few, tmp_path):
        checkpoint = load_checkpoint(train(few, tmp_path / "run", options(channels=3)))
        assert checkpoint.training["system"] == "gan"
        assert "classes" not in checkpoint.training
        assert [image.kind for image in checkpoint.spec.inputs] == ["latent"]
        assert checkpoint.spec.output.color == "rgb"
        pictures, _ = pictures_of(tmp_path / "run" / "ckpt.pt", 3)
        assert pictures.shape == (3, SIZE, SIZE, 3)

    @pytest.mark.parametrize("conditional", [False, True])
    @pytest.mark.parametrize("more", [{}, {"ema": 0.9, "accumulate": 2, "precision": "bf16"}])
    def test_goes_on_to_the_last_bit(self, few, tmp_path, conditional, more):
        wanted = options(conditional=conditional, **more)
        straight = train(few, tmp_path / "straight", wanted)
        cancel = threading.Event()

        def stop(now):
            if now.step == 3:
                cancel.set()

        train(few, tmp_path / "halved", wanted, on_progress=stop, cancel=cancel)
        assert load_checkpoint(tmp_path / "halved" / "ckpt.pt").training["step"] == 4  # the one under way is finished
        halved = train(few, tmp_path / "halved", wanted, resume=True)
        one, other = (torch.load(path, weights_only=True) for path in (straight, halved))
        assert_equal(one, other)
        assert one["state"]["system"]["optimizers"]["D"]["state"]

    def test_of_the_other_system_is_not_gone_on_with(self, few, tmp_path):
        train(few, tmp_path / "run", options(steps=1))
        with pytest.raises(DataError, match="is of gan, and cgan would go on"):
            train(few, tmp_path / "run", options(steps=2, conditional=True), resume=True)


def assert_equal(one, other):
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_equal(one[key], other[key])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_equal(first, second)
    else:
        assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


class TestSystem:
    def system(self, tmp_path, classes=0, **changes):
        wanted = options(conditional=bool(classes), **changes)
        torch.manual_seed(0)
        return GAN(make_fabric(wanted, tmp_path), wanted, make_spec(wanted, classes))

    @pytest.mark.parametrize("classes", [0, 3])
    def test_a_step_moves_both_networks(self, tmp_path, classes):
        system = self.system(tmp_path, classes)
        before = {name: [w.clone() for w in network.parameters()] for name, network in system.networks.items()}
        losses = system.step((torch.rand(4, 1, SIZE, SIZE) * 2 - 1, torch.tensor([0, 1, 2, 0])))
        for name, network in system.networks.items():
            for weight, old in zip(network.parameters(), before[name], strict=True):
                assert not torch.equal(weight, old), name
        assert not any(loss.requires_grad for loss in losses.values())
        assert losses["D_real"].item() == pytest.approx(np.log(2), abs=0.2)

    @pytest.mark.parametrize("classes", [0, 3])
    def test_alike_pictures_are_a_doubt_and_others_none(self, tmp_path, classes):
        system = self.system(tmp_path, classes)
        with torch.no_grad():  # as wide apart as those of a trained network
            system.generator.layers[4].weight.mul_(100)
            system.generator.layers[2].weight.mul_(10)
        columns = classes or gan.COLUMNS
        preview = torch.rand(8, 1, SIZE, SIZE) * 2 - 1, torch.randn(columns, 8, 16)
        shown = health.show(system, preview)
        assert len(shown) == columns + 1
        assert torch.equal(shown[-1], preview[0])
        assert health.HealthChecks().of_samples(shown, 300) is None
        with torch.no_grad():  # deaf to the latent vector, but not to the class
            system.generator.layers[0].weight[:, :16] = 0
        assert "collapsed" in health.HealthChecks().of_samples(health.show(system, preview), 300)

    def test_samples_are_of_the_same_latent_vectors_each_time(self, few, tmp_path):
        train(few, tmp_path / "run", options(steps=40, validate_every=20, conditional=True))
        samples = sorted((tmp_path / "run" / "samples").iterdir())
        shapes = {read_image(path)[0].shape for path in samples}
        assert (len(samples), shapes) == (2, {(8 * SIZE, 11 * SIZE, 3)})
        first, second = (read_image(path)[0][:, : 10 * SIZE].astype(int) for path in samples)
        assert 0 < np.abs(first - second).mean() < 40  # some steps of training apart

    def test_the_discriminator_has_the_published_layers(self):
        weights = [layer.weight.shape for layer in MLPDiscriminator().layers if isinstance(layer, torch.nn.Linear)]
        assert weights == [(512, 784), (256, 512), (1, 256)]
        slopes = [layer.negative_slope for layer in MLPDiscriminator().layers if hasattr(layer, "negative_slope")]
        assert slopes == [0.2, 0.2]

    def test_the_discriminator_looks_at_the_class(self):
        torch.manual_seed(0)
        pictures = torch.rand(2, 1, SIZE, SIZE)
        judge = MLPDiscriminator(1, SIZE, 16, classes=3)
        assert not torch.equal(judge(pictures, torch.tensor([0, 1])), judge(pictures, torch.tensor([0, 2])))


class TestData:
    def test_classes_are_folders_in_sorted_order(self, few):
        (few / "train" / ".hidden").mkdir()
        found = find_classes(few)
        assert list(found) == [f"digit-{number}" for number in range(10)]
        assert sum(map(len, found.values())) == 40
        assert find_classes(few / "train") == found  # the folder itself will do

    def test_pictures_are_found_with_and_without_folders(self, few):
        write_images(few / "train", photo_crops(3, 8))
        assert len(find_pictures(few)) == 43

    def test_pictures_come_as_grey_values_with_their_class(self, few):
        pictures = gan.Pictures(list(find_classes(few).values()), 20, 1)
        picture, number = pictures[5, 39]
        assert picture.shape == (1, 20, 20)
        assert (picture.min() >= -1, picture.max() <= 1, number) == (True, True, 9)
        assert picture.min() == -1  # what is black in a picture is as black as the generator can draw

    def test_bad_data_are_refused_with_a_sentence(self, few, tmp_path):
        def refuse(words, data, **changes):
            with pytest.raises(DataError, match=words):
                train(data, tmp_path / "run", options(**changes))
            assert not (tmp_path / "run" / "ckpt.pt").exists()

        refuse("is not a folder", tmp_path / "nowhere")
        (tmp_path / "empty" / "train").mkdir(parents=True)
        refuse("holds no images, nor do the folders in it", tmp_path / "empty")
        refuse("holds 0 folders; expected two or more, one for each class", tmp_path / "empty", conditional=True)
        (few / "train" / "none").mkdir()
        refuse("none holds no images. Every folder is a class", few, conditional=True)
        shutil.rmtree(few / "train" / "none")
        (few / "train" / "digit-3" / "000.png").write_text("no picture")
        refuse(r"cannot be used: .*000\.png", few, conditional=True, batch=40)

    @pytest.mark.parametrize(
        "changes",
        [
            {"size": 0},
            {"size": 1000},
            {"z_dim": 0},
            {"ngf": 0},
            {"ndf": 0},
            {"channels": 2},
            {"batch": 0},
            {"steps": 0},
        ],
    )
    def test_impossible_options_are_refused(self, few, tmp_path, changes):
        with pytest.raises(P2PError):
            train(few, tmp_path / "run", options(**changes))
        assert not (tmp_path / "run" / "ckpt.pt").exists()
