import json

import pytest
from helpers.support import latent_spec, unet_spec

from p2p_deploy.errors import SpecError
from p2p_deploy.spec import ImageSpec, ModelSpec, model


def changed(**changes):
    return json.dumps({**unet_spec().to_dict(), **changes})


def test_survives_json():
    spec = unet_spec().with_changes(fixed_size=(64, 96), source_sha256="ab" * 32, created_with="test")
    assert ModelSpec.from_json(spec.to_json()) == spec


def test_equal_specs_give_equal_bytes():
    assert unet_spec().to_json() == unet_spec().to_json()


def test_unknown_keys_of_a_later_minor_are_kept():
    spec = ModelSpec.from_json(changed(schema="1.7", sharpening={"amount": 1}))
    assert spec.extra == {"sharpening": {"amount": 1}}
    assert json.loads(spec.to_json())["sharpening"] == {"amount": 1}
    assert spec.schema == "1.7"


def test_a_required_feature_that_is_not_known_is_refused():
    with pytest.raises(SpecError, match=r"requires alpha-matte.*pip install -U"):
        ModelSpec.from_json(changed(required_features=["alpha-matte"]))


@pytest.mark.parametrize("classes", [0, 10])
def test_networks_that_draw_survive_json(classes):
    drawing = latent_spec(classes=classes)
    assert ModelSpec.from_json(drawing.to_json()) == drawing
    assert drawing.schema == "1.0"
    assert drawing.input_names == ["latent", "class"][: len(drawing.inputs)]
    assert [image.shape(12, 12) for image in drawing.inputs] == [(8,), (1,)][: len(drawing.inputs)]
    values = drawing.with_io("float32")
    assert (values.inputs, values.output.dtype) == (drawing.inputs, "float32")


def test_a_reader_from_before_refuses_networks_that_draw(monkeypatch):
    text = latent_spec().to_json()
    monkeypatch.setattr(model, "KNOWN_FEATURES", frozenset())
    with pytest.raises(SpecError, match=r"requires latent, which this version .*pip install -U"):
        ModelSpec.from_json(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"fixed_size": None}, "takes latent gives one size; expected it as fixed_size"),
        ({"inputs": latent_spec(classes=3).inputs[1:]}, "the spec lists class and image"),
        ({"inputs": latent_spec(classes=3).inputs[::-1]}, "the spec lists class, latent and image"),
        ({"inputs": (ImageSpec.for_channels(1), ImageSpec.for_class(2))}, "the spec lists image, class and image"),
        ({"output": ImageSpec.for_latent(3)}, "the spec lists latent and latent"),
    ],
)
def test_networks_that_draw_take_a_latent_first_and_have_one_size(changes, words):
    with pytest.raises(SpecError, match=words):
        latent_spec().with_changes(**changes)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: ImageSpec.for_latent(0), "channels must be a whole number from 1 to 65536, got 0"),
        (lambda: ImageSpec.for_latent(10**6), "channels must be a whole number"),
        (lambda: ImageSpec.for_class(0), "classes must be a whole number"),
        (lambda: ImageSpec(1, "gray", "int32", kind="class"), "classes must be a whole number .* got None"),
        (lambda: ImageSpec(3, "rgb", "int32", kind="class", classes=2), "A class is 1 number, the spec says 3"),
        (lambda: ImageSpec(8, "gray", "uint8", kind="latent"), "latent of this kind are float32, got uint8"),
        (lambda: ImageSpec(8, "gray", "float32", kind="latent", classes=3), "classes are for labels and class"),
    ],
)
def test_impossible_vectors_are_refused(make, words):
    with pytest.raises(SpecError, match=words):
        make()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("not json", "not JSON"),
        ("[1]", "JSON object"),
        ("[" * 100_000, "not JSON"),
        (changed(arch_kwargs={"slope": float("nan")}), "NaN is no finite number"),
        (changed(sharpening=0.5).replace("0.5", "1e999"), "1e999 is no finite number"),
        (changed(schema="2.0"), "schema '2.0'"),
        (changed(schema=None), "schema None"),
        (changed(inputs=[]), "the spec lists nothing"),
        (changed(inputs=None), "cannot be read"),
        (changed(size_multiple=0), "size_multiple"),
        (changed(size_multiple="32"), "size_multiple"),
        (changed(train_size=[64]), "train_size"),
        (changed(train_size=[60, 64]), "multiples of 32"),
        (changed(fixed_size=[32, 10**9]), "multiples of 32"),
        (changed(norm_stats="moon"), "norm_stats"),
        (latent_spec().to_json().replace('"kind": "latent"', '"kind": "sound"'), "kind must be one of .*got 'sound'"),
        (changed(name=3), "name must be a text"),
        (changed(required_features="alpha"), "required_features"),
        (changed(arch_kwargs=3), "cannot be read"),
    ],
)
def test_nonsense_is_refused_with_a_sentence(text, words):
    with pytest.raises(SpecError, match=words):
        ModelSpec.from_json(text)


def test_a_missing_key_is_named():
    data = unet_spec().to_dict()
    del data["output"]
    with pytest.raises(SpecError, match="lacks the key 'output'"):
        ModelSpec.from_dict(data)


@pytest.mark.parametrize(
    "kwargs",
    [{"channels": 2}, {"channels": 3, "color": "gray"}, {"channels": 3, "value_range": (1.0, -1.0)}],
)
def test_impossible_images_are_refused(kwargs):
    with pytest.raises(SpecError):
        ImageSpec(**kwargs)


def test_channels_choose_the_colour():
    assert ImageSpec.for_channels(1).color == "gray"
    assert ImageSpec.for_channels(3).color == "rgb"
    with pytest.raises(SpecError, match="got 5"):
        ImageSpec.for_channels(5)
