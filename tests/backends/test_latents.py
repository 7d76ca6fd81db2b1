"""Networks that draw: every runtime gives the same pictures for the same latent vectors and classes."""

import numpy as np
import pytest
from helpers.fake_gpu import answer_vectors
from helpers.plans import profile
from helpers.support import drawing_generator, latent_spec

from p2p_deploy import latents
from p2p_deploy.backends import load
from p2p_deploy.backends.tensorrt.preflight import rebuild, run_instead
from p2p_deploy.checkpoints import save_checkpoint
from p2p_deploy.exporter.export import export
from p2p_deploy.spec.sidecar import read_sidecar

CLASSES = 5
ON_GPU = latent_spec(classes=9, z_dim=16, size=8)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("drawing")
    spec = latent_spec(classes=CLASSES)
    save_checkpoint(folder / "small.pt", spec, drawing_generator(spec), {})
    return {".pt": folder / "small.pt", ".onnx": export(folder / "small.pt", folder / "small.onnx").onnx}


@pytest.fixture(params=[".pt", ".onnx"])
def model(request, models):
    with load(models[request.param]) as model:
        yield model


def test_pictures_are_the_checkpoints_whatever_the_batch(models, model):
    inputs = next(latents.draw(model.spec, 1, 20))
    with load(models[".pt"]) as reference:
        expected = reference(*inputs)
    assert expected.shape == (20, 12, 12, 1)
    assert expected.std() > 20  # else the comparison would say nothing
    for batch in (1, 3, 20, 2):
        got = model(*(array[:batch] for array in inputs))
        assert np.abs(got.astype(int) - expected[:batch]).max() <= 1


def test_vector_and_class_both_make_a_difference(model):
    (vectors, classes), (others, _) = (next(latents.draw(model.spec, seed, 5)) for seed in (1, 2))
    pictures = model(vectors, classes).astype(int)
    assert np.abs(model(others, classes) - pictures).mean() > 10
    assert np.abs(model(vectors, (classes + 1) % CLASSES) - pictures).mean() > 10


def test_a_class_beyond_those_there_are_is_none_of_them_and_breaks_nothing(model):
    vectors, classes = next(latents.draw(model.spec, 1, 3))
    outside = model(vectors, np.array([[CLASSES], [-1], [2**31 - 1]], np.int32))
    np.testing.assert_array_equal(outside, model(vectors, np.full_like(classes, 2**30)))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        ((np.zeros((2, 8), np.float32),), "expected 2 arrays .latent, class., got 1"),
        ((np.zeros((2, 8)), np.zeros((2, 1), np.int32)), r"expected float32 latent of shape \(N, 8\), got float64"),
        ((np.zeros((2, 9), np.float32), np.zeros((2, 1), np.int32)), r"got float32 of shape \(2, 9\)"),
        ((np.zeros((2, 8, 1, 1), np.float32), np.zeros((2, 1), np.int32)), r"got float32 of shape \(2, 8, 1, 1\)"),
        ((np.zeros((2, 8), np.float32), np.zeros(2, np.int32)), r"expected int32 class of shape \(N, 1\), got int32"),
        ((np.zeros((2, 8), np.float32), np.zeros((3, 1), np.int32)), "expected as many of each, got 2 and 3"),
        ((np.zeros((0, 8), np.float32), np.zeros((0, 1), np.int32)), "expected float32 latent"),
    ],
)
def test_wrong_arrays_are_refused_with_what_was_expected(model, inputs, words):
    with pytest.raises(ValueError, match=words):
        model(*inputs)


@pytest.mark.parametrize("pace", ["late", "early", "random"])
def test_vectors_and_classes_go_through_a_plan(opened, pace):
    shapes = (profile((1, 4, 8), (8, 8, 8)),)
    _, model = opened(pace, profiles=shapes, engine={"spec": ON_GPU}, sidecar={"spec": ON_GPU})
    drawn = latents.draw(ON_GPU, 0, 5)
    with model:
        assert model.profiles == shapes
        for batch in (2, 5, 5, 5, 1):
            vectors, classes = (array[:batch] for array in next(drawn))
            np.testing.assert_array_equal(model(vectors, classes), answer_vectors(vectors, classes))


def test_what_to_do_about_a_plan_is_to_sample(opened, tmp_path):
    shapes = (profile((1, 4, 8), (8, 8, 8)),)
    spec = ON_GPU.with_changes(source_sha256="c0ffee" * 10 + "beef")
    opened(profiles=shapes, engine={"spec": spec}, sidecar={"spec": spec})[1].close()
    plan = tmp_path / "small.plan"
    assert f"p2p sample {plan} OUT `rebuild=True`" in rebuild(plan, read_sidecar(plan))
    assert run_instead(plan, read_sidecar(plan)).endswith(f"p2p sample {tmp_path / 'small.onnx'} OUT")
