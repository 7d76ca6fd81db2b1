"""Which network a file is of, from its keys and shapes alone."""

import json

import pytest
import torch
from helpers import layouts
from helpers.support import ROOT

from p2p_deploy.checkpoints.families import recognise
from p2p_deploy.checkpoints.foreign import _check_asked, _generator
from p2p_deploy.checkpoints.reading import fold_spectral_norm, state_dict_of
from p2p_deploy.errors import CheckpointError
from p2p_deploy.options import Assumptions

FIXTURES = ROOT / "tests" / "fixtures" / "checkpoints"
GAN_UNET, GAN_RESNET = "PyTorch-GAN's pix2pix", "PyTorch-GAN's CycleGAN"
UNET, RESNET = "U-Net of pytorch-CycleGAN-and-pix2pix", "ResNet of pytorch-CycleGAN-and-pix2pix"
GLOBAL, LOCAL = "global generator of pix2pixHD", "local enhancer of pix2pixHD"

# name -> (keys and shapes, family, what is inferred)
LAYOUTS = {
    "unet_256": (layouts.unet(), UNET, {"num_downs": 8, "ngf": 64, "norm": "batch"}),
    "unet_128": (layouts.unet(7), UNET, {"num_downs": 7, "norm": "batch"}),
    "unet 512": (layouts.unet(9), UNET, {"num_downs": 9}),
    "unet 5 downs": (layouts.unet(5), UNET, {"num_downs": 5}),
    "unet instance": (layouts.unet(kind="instance"), UNET, {"num_downs": 8, "norm": "instance"}),
    "unet tracked instance": (layouts.unet(7, kind="tracked"), UNET, {"num_downs": 7, "norm": "instance"}),
    "unet none": (layouts.unet(kind="none"), UNET, {"norm": "none"}),
    "unet narrow": (layouts.unet(ngf=17), UNET, {"ngf": 17}),
    "unet grey to colour": (layouts.unet(into=1), UNET, {"in_channels": 1, "out_channels": 3}),
    "unet colour to grey": (layouts.unet(7, out=1), UNET, {"in_channels": 3, "out_channels": 1}),
    "resnet_9": (layouts.resnet(), RESNET, {"n_blocks": 9, "n_downs": 2, "norm": "instance", "bias": True}),
    "resnet_6": (layouts.resnet(6), RESNET, {"n_blocks": 6}),
    "resnet 1 block": (layouts.resnet(1), RESNET, {"n_blocks": 1}),
    "resnet 18 blocks": (layouts.resnet(18, ngf=32), RESNET, {"n_blocks": 18, "ngf": 32}),
    "resnet batch": (layouts.resnet(kind="batch"), RESNET, {"norm": "batch", "bias": False}),
    "resnet none": (layouts.resnet(kind="none"), RESNET, {"norm": "none", "bias": False}),
    "resnet tracked": (layouts.resnet(kind="tracked"), RESNET, {"norm": "instance", "bias": True}),
    "resnet dropout": (layouts.resnet(dropout=True), RESNET, {"dropout": True, "padding": "reflect"}),
    "resnet zeros": (layouts.resnet(first=0), RESNET, {"padding": "zeros", "dropout": False}),
    "resnet zeros dropout": (layouts.resnet(first=0, dropout=True), RESNET, {"padding": "zeros", "dropout": True}),
    "resnet grey": (layouts.resnet(into=1, out=1), RESNET, {"in_channels": 1, "out_channels": 1}),
    "resnet 1 down": (layouts.resnet(downs=1), RESNET, {"n_downs": 1}),
    "global rgb": (layouts.resnet(downs=4), GLOBAL, {"n_downs": 4, "n_blocks": 9}),
    "global cityscapes": (layouts.resnet(downs=4, into=36), GLOBAL, {"in_channels": 36}),
    "global features": (layouts.resnet(downs=4, into=39), GLOBAL, {"in_channels": 39}),
    "global batch": (layouts.resnet(kind="batch", bias=True, downs=3), GLOBAL, {"norm": "batch", "bias": True}),
    "local rgb": (layouts.local_enhancer(), LOCAL, {"n_downs": 3, "ngf": 32, "n_enhancers": 1, "n_local_blocks": 3}),
    "local cityscapes": (layouts.local_enhancer(36, downs=4), LOCAL, {"in_channels": 36, "n_downs": 4, "n_blocks": 9}),
    "local two": (
        layouts.local_enhancer(ngf=16, enhancers=2, blocks=4, local_blocks=2),
        LOCAL,
        {"n_enhancers": 2, "ngf": 16, "n_blocks": 4, "n_local_blocks": 2},
    ),
    "local zeros": (layouts.local_enhancer(first=0), LOCAL, {"padding": "zeros"}),
    "local batch": (layouts.local_enhancer(kind="batch"), LOCAL, {"norm": "batch"}),
    "gan unet": (layouts.gan_unet(), GAN_UNET, {"num_downs": 8, "ngf": 64, "norm": "instance"}),
    "gan unet batch": (
        layouts.gan_unet(7, ngf=32, kind="batch"),
        GAN_UNET,
        {"num_downs": 7, "norm": "batch"},
    ),
    "gan unet grey": (layouts.gan_unet(into=1, out=1), GAN_UNET, {"in_channels": 1}),
    "gan resnet": (layouts.gan_resnet(), GAN_RESNET, {"n_blocks": 9, "up_by": "resize"}),
    "gan resnet 6": (layouts.gan_resnet(6), GAN_RESNET, {"n_blocks": 6}),
    "spade cityscapes": (layouts.spade(), "SPADE", {"in_channels": 36, "norm": "batch", "upsampling": "normal"}),
    "spade coco": (layouts.spade(184), "SPADE", {"in_channels": 184, "ngf": 64}),
    "spade ade20k": (layouts.spade(151), "SPADE", {"in_channels": 151}),
    "spade instance": (layouts.spade(kind="instance"), "SPADE", {"norm": "instance"}),
    "spade most": (layouts.spade(most=True, ngf=32), "SPADE", {"upsampling": "most", "ngf": 32}),
    "spade 5x5": (layouts.spade(kernel=5), "SPADE", {"kernel": 5}),
    "spade no spectral norm": (layouts.spade(form=None, ngf=48), "SPADE", {"ngf": 48}),
    "spade new spectral norm": (layouts.spade(form="new"), "SPADE", {"ngf": 64}),
    "spade vae": (layouts.spade(z_dim=256, places=128), "SPADE", {"z_dim": 256, "base_size": [8, 16]}),
    "spade vae square": (layouts.spade(z_dim=64, places=64), "SPADE", {"z_dim": 64, "base_size": [8, 8]}),
}
PREFIXES = ("", "module.", "_orig_mod.", "netG.", "module._orig_mod.", "trainer.netG.module.")
WRAPPERS = (None, "state_dict", "netG", "params_ema", "generator", "model")


def tensors(table):
    return {key: torch.empty(shape, device="meta") for key, shape in table.items()}


def find(table, **assume):
    return recognise(fold_spectral_norm(tensors(table)), Assumptions(**assume))


def test_there_are_thirty_layouts_and_more():
    assert len(LAYOUTS) >= 30


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_recognised_exactly(name):
    table, family, expected = LAYOUTS[name]
    found, weights = find(table)
    assert family in found.family
    assert {key: found.arch_kwargs[key] for key in expected} == expected
    generator = _generator(found, weights)  # strict: a key too many, a key missing, a wrong shape would raise
    own = {key for key in generator.state_dict() if key != "z" and not key.endswith("num_batches_tracked")}
    assert set(found.layers.renamed.values()) >= own


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("name", ["unet_128", "resnet dropout", "local cityscapes", "gan unet", "spade most"])
def test_whatever_stands_before_every_key_is_removed(name, prefix):
    table, _, expected = LAYOUTS[name]
    found, weights = find({prefix + key: shape for key, shape in table.items()})
    assert {key: found.arch_kwargs[key] for key in expected} == expected
    assert weights.keys() == fold_spectral_norm(tensors(table)).keys()


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_whatever_lies_around_the_weights_is_opened(wrapper):
    weights = {"model.1.weight": torch.zeros(1)}
    contents = {wrapper: weights, "epoch": 3, "optimizer": {"state": {}, "param_groups": []}} if wrapper else weights
    assert state_dict_of(contents, None) == (weights, None)
    assert state_dict_of({"checkpoint": 1, "model": contents} if wrapper else weights, None) == (weights, None)


def test_of_a_whole_training_module_the_generator_is_taken_and_said():
    discriminator = {"netD.model.0.weight": (64, 6, 4, 4), "netD.model.2.weight": (1, 64, 4, 4)}
    found, _ = find({f"netG.{key}": shape for key, shape in layouts.unet(5).items()} | discriminator)
    assert found.arch_kwargs["num_downs"] == 5
    assert found.inferred[-1] == "taken from netG; left out: netD"


def test_of_two_generators_one_has_to_be_named():
    two = {f"{name}.{key}": shape for name in ("G_A", "G_B") for key, shape in layouts.resnet(2).items()}
    with pytest.raises(CheckpointError, match=r"several generators \(G_A, G_B\).*`part`, .*such as G_A"):
        find(two)
    assert find(two, part="G_B")[0].arch_kwargs["n_blocks"] == 2
    nested = {name: {"model.1.weight": torch.zeros(1)} for name in ("G_A", "G_B")} | {"epoch": 1}
    with pytest.raises(CheckpointError, match=r"several networks \(G_A, G_B\)"):
        state_dict_of(nested, None)
    assert state_dict_of(nested, "G_A") == (nested["G_A"], None)
    with pytest.raises(CheckpointError, match=r"has no part 'g_a'; it holds G_A, G_B|several networks"):
        state_dict_of(nested, "g_a")
    for table in (two, layouts.unet(5)):
        with pytest.raises(CheckpointError, match=r"has no part 'g_a'; its keys begin with"):
            find(table, part="g_a")


def test_what_lies_beside_weights_is_no_weight():
    weights = {"model.1.weight": torch.zeros(1)}
    assert state_dict_of({**weights, "epoch": 5, "name": "x"}, None) == (weights, None)
    assert state_dict_of({"nets": {"anything": weights}, "step": 3}, None) == (weights, None)
    assert state_dict_of({"ema": {"decay": 0.99}, "netG": weights}, None) == (weights, None)


@pytest.mark.parametrize(
    ("folder", "table"),
    [
        ("cyclegan_pix2pix_unet256", layouts.unet(ngf=8)),
        ("cyclegan_pix2pix_resnet6", layouts.resnet(6, ngf=8)),
        ("pix2pixHD_global", layouts.resnet(2, ngf=8, downs=3)),
        ("pytorch_gan_pix2pix", layouts.gan_unet()),
        ("pytorch_gan_cyclegan", layouts.gan_resnet(2)),
    ],
)
def test_the_tables_are_those_of_real_files(folder, table):
    if (FIXTURES / folder / "seeded.json").exists():
        shapes = json.loads((FIXTURES / folder / "seeded.json").read_text())["shapes"]
        real = {key: tuple(shape) for key, (shape, _) in shapes.items()}
    else:
        weights = torch.load(next((FIXTURES / folder).glob("*.pth")), weights_only=True)
        real = {key: tuple(value.shape) for key, value in weights.items()}
    assert table == real


class TestConditions:
    """What input channels stand for, where the keys only count them."""

    @pytest.mark.parametrize(
        ("table", "assume", "classes", "edges", "features"),
        [
            (layouts.resnet(downs=4, into=36), {}, 35, True, 0),
            (layouts.resnet(downs=4, into=36), {"edges": False}, 36, False, 0),
            (layouts.resnet(downs=4, into=36), {"labels": 36}, 36, False, 0),
            (layouts.resnet(downs=4, into=39), {"features": 3}, 35, True, 3),
            (layouts.resnet(downs=4, into=38), {"features": 3, "labels": 35}, 35, False, 3),
            (layouts.local_enhancer(36), {}, 35, True, 0),
            (layouts.spade(184), {}, 183, True, 0),
            (layouts.spade(151), {}, 151, False, 0),
            (layouts.spade(3), {}, 2, True, 0),
            (layouts.resnet(downs=4, into=300), {}, 299, True, 0),
        ],
    )
    def test_are_the_published_ones_unless_said_otherwise(self, table, assume, classes, edges, features):
        found, _ = find(table, **assume)
        assert [image.kind for image in found.inputs] == ["labels", "instances"][: 1 + edges]
        assert (found.inputs[0].classes, found.features) == (classes, features)
        assert found.inputs[0].dtype == ("uint8" if classes <= 256 else "int32")
        assert any("`labels=" in said for said in found.assumed) == ("labels" not in assume)

    def test_one_or_three_channels_are_a_picture(self):
        for channels in (1, 3):
            found, _ = find(layouts.resnet(downs=4, into=channels))
            assert (found.inputs[0].kind, found.inputs[0].channels) == ("image", channels)
        assert find(layouts.resnet(downs=4, into=3), labels=3)[0].inputs[0].classes == 3

    @pytest.mark.parametrize(
        "assume", [{"labels": 40}, {"labels": 20}, {"features": 36}, {"labels": 36, "edges": True}]
    )
    def test_what_does_not_add_up_is_refused(self, assume):
        with pytest.raises(CheckpointError, match=r"its input has 36 channels.*do not add up.*`labels`"):
            find(layouts.resnet(downs=4, into=36), **assume)

    @pytest.mark.parametrize("table", [layouts.unet(into=6), layouts.unet(into=1, out=2), layouts.resnet(out=2)])
    def test_other_data_than_pictures_is_refused(self, table):
        with pytest.raises(CheckpointError, match=r"(input|output) has \d channels; images have 1 \(grey\) or 3"):
            find(table)

    @pytest.mark.parametrize(
        ("table", "assume"),
        [
            (layouts.unet(5), {"labels": 5}),
            (layouts.unet(5), {"features": 3}),
            (layouts.gan_resnet(1), {"edges": True}),
            (layouts.resnet(kind="batch"), {"labels": 2}),
            (layouts.resnet(downs=4, into=36), {"upsampling": "more"}),
            (layouts.spade(most=True), {"upsampling": "normal"}),
        ],
    )
    def test_what_makes_no_difference_is_refused(self, table, assume):
        found, _ = find(table)
        with pytest.raises(CheckpointError, match=r"makes no difference to .*leave it out"):
            _check_asked(found, Assumptions(**assume))

    def test_an_image_has_neither_edges_nor_features(self):
        with pytest.raises(CheckpointError, match="`labels=0` means an image"):
            find(layouts.resnet(downs=4), labels=0, edges=True)

    def test_networks_without_biases_are_not_taken_for_pix2pixhd(self):
        with pytest.raises(CheckpointError, match="input has 6 channels; images have 1"):
            find(layouts.resnet(kind="batch", into=6))

    def test_zeros_for_an_encoder_and_numbering_anew_are_said(self):
        found, _ = find(layouts.resnet(downs=4, into=39), features=3)
        assert any("3 channels of an encoder are zeros" in said for said in found.assumed)
        assert any("ADE20K files have to be renumbered" in said for said in find(layouts.spade(151))[0].assumed)

    def test_spades_upsampling_is_asked_for(self):
        found, _ = find(layouts.spade())
        assert any("`upsampling=more`" in said for said in found.assumed)
        found, _ = find(layouts.spade(), upsampling="more")
        assert found.arch_kwargs["upsampling"] == "more"
        assert not any("upsampling=" in said for said in found.assumed)


OTHERS = {
    "a multi-scale discriminator": {"scale0_layer0.0.weight": (64, 39, 4, 4), "scale0_layer0.0.bias": (64,)},
    "a PatchGAN discriminator": {"model.0.weight": (64, 6, 4, 4), "model.11.weight": (1, 512, 4, 4)},
    "the feature encoder of pix2pixHD": layouts.conv("model.1", 16, 3, 7) | layouts.conv("model.4", 32, 16, 3),
    "the image encoder of SPADE": {"layer1.0.weight_orig": (64, 3, 3, 3), "fc_mu.weight": (256, 8192)},
    "a classifier": {"features.0.weight": (64, 3, 3, 3), "classifier.0.weight": (4096, 25088)},
    "a super-resolution network": {"RRDB_trunk.0.RDB1.conv1.weight": (32, 64, 3, 3)},
    "a diffusion model": {"model.diffusion_model.out.2.weight": (4, 320, 3, 3)},
    "is not a generator that this version knows": {"backbone.stem.weight": (64, 3, 7, 7)},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_is_no_generator_is_named(what):
    table = {key.replace("weight_orig", "weight"): shape for key, shape in OTHERS[what].items()}
    with pytest.raises(CheckpointError, match=what):
        find(table)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model.99.weight": (3, 3)}, "has keys that this network does not: model.99.weight"),
        ({"model.4.filt": (1, 1, 3, 3)}, "CUT with anti-aliased sampling"),
        ({"model.12.weight": (64, 256, 3, 3)}, "fork that up-samples in another way"),
        ({"model.25.conv_block.1.weight": (256, 256, 3, 3)}, "expected one after the other"),
        ({"model.10.conv_block.3.weight": (256, 256, 3, 3)}, "convolutions at 1, 3, 5"),
    ],
)
def test_forks_are_refused_by_name(change, words):
    with pytest.raises(CheckpointError, match=words):
        find(layouts.resnet(2) | change)


def test_spectral_norm_is_folded_as_torch_does():
    torch.manual_seed(0)
    for normed in (torch.nn.utils.spectral_norm, torch.nn.utils.parametrizations.spectral_norm):
        layer = normed(torch.nn.Conv2d(5, 7, 3)).train()
        for _ in range(3):
            layer(torch.rand(1, 5, 8, 8))
        layer.eval()
        layer(torch.rand(1, 5, 8, 8))
        folded = fold_spectral_norm(layer.state_dict())
        assert folded.keys() == {"weight", "bias"}
        torch.testing.assert_close(folded["weight"], layer.weight.detach())
        assert folded["weight"].dtype == torch.float32
        broken = {key: value for key, value in layer.state_dict().items() if not key.endswith("_v")}
        with pytest.raises(CheckpointError, match="its vectors u and v are missing"):
            fold_spectral_norm(broken)


def test_spectral_norm_of_a_transposed_convolution_is_folded_along_its_outputs():
    torch.manual_seed(0)
    layer = torch.nn.utils.spectral_norm(torch.nn.ConvTranspose2d(6, 4, 3)).train()
    layer(torch.rand(1, 6, 8, 8))
    layer.eval()
    layer(torch.rand(1, 6, 8, 8))
    torch.testing.assert_close(fold_spectral_norm(layer.state_dict())["weight"], layer.weight.detach())
