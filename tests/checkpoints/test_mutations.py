"""Two hundred files that are almost right, or meant to do harm: each is a sentence, and nothing of it runs."""

import io
import os
import pickle
import random
import zipfile

import pytest
import torch
from helpers import layouts
from helpers.support import assert_refused, invoke

SMALL = {
    "unet": layouts.unet(5, ngf=2),
    "resnet": layouts.resnet(2, ngf=2, kind="batch"),
    "local": layouts.local_enhancer(4, ngf=2, blocks=1, downs=2, local_blocks=1),
    "gan unet": layouts.gan_unet(5, ngf=2),
    "gan resnet": layouts.gan_resnet(2, ngf=2),
    "spade": layouts.spade(4, ngf=2),
}
KINDS = ("dropped", "renamed", "reshaped", "extra", "flattened")
EACH = 6  # of every kind and network: 180 files


def weights(table):
    torch.manual_seed(0)
    return {key: torch.randn(shape) if shape else torch.tensor(0) for key, shape in table.items()}


def mutated(table, kind: str, seed: int):
    """A sound file with one key changed, and the key; counters of batches are left alone, since nothing needs them."""
    state, chance = weights(table), random.Random(seed)
    key = chance.choice([key for key in state if not key.endswith("num_batches_tracked")])
    value = state[key]
    if kind == "dropped":
        del state[key]
    elif kind == "renamed":
        state[key + "_x"] = state.pop(key)
    elif kind == "reshaped":
        state[key] = torch.zeros(value.shape[0] + 1, *value.shape[1:])
    elif kind == "flattened":
        state[key] = torch.zeros(*value.shape, 1)
    else:
        key = f"model.{chance.randrange(100, 200)}.{chance.choice(['weight', 'bias'])}"
        state[key] = torch.zeros(3, 3)
    return state, key


@pytest.fixture(scope="module", params=SMALL)
def small(request):
    return request.param


def test_the_small_files_are_sound_before_they_are_changed(small, tmp_path):
    torch.save(weights(SMALL[small]), tmp_path / "x.pth")
    result = invoke("info", tmp_path / "x.pth")
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("kind", KINDS)
def test_a_changed_key_is_named(small, kind, tmp_path):
    for seed in range(EACH):
        path = tmp_path / f"{seed}.pth"
        state, key = mutated(SMALL[small], kind, seed)
        torch.save(state, path)
        result = invoke("info", path)
        assert_refused(result, str(path))
        # The key itself, the block it is in, or, where it is what widths are told by, what was told.
        block = key.rpartition(".")[0].rpartition(".")[0]
        assert any(words in result.stderr for words in (key, block, "looks like", "output has 4 channels"))


def test_a_file_that_was_cut_is_a_sentence(small, tmp_path):
    torch.save(weights(SMALL[small]), tmp_path / "x.pth")
    data = (tmp_path / "x.pth").read_bytes()
    for share in (0, 0.01, 0.3, 0.7, 0.99):
        (tmp_path / "cut.pth").write_bytes(data[: int(len(data) * share)])
        assert_refused(invoke("info", tmp_path / "cut.pth"), "cut.pth")


class Calls:
    """Pickles as a call of any function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile(trap):
    """Contents that would leave ``trap`` behind if anything of them ran."""
    calls = [Calls(os.mkdir, str(trap)), Calls(os.system, f"touch {trap}"), Calls(eval, f"open({str(trap)!r}, 'w')")]
    for call in calls:
        yield call
        yield {"state_dict": call}
        yield {"model.1.weight": torch.zeros(1), "evil": call}
    yield torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3))
    yield {"netG": torch.nn.Conv2d(3, 3, 3)}


def test_nothing_of_a_hostile_file_runs(tmp_path):
    trap, count = tmp_path / "executed", 0
    for contents in hostile(trap):
        for protocol in (0, 2, 4):
            files = [pickle.dumps(contents, protocol)]
            buffer = io.BytesIO()
            torch.save(contents, buffer, pickle_protocol=max(protocol, 2))
            files.append(buffer.getvalue())
            for data in files:
                (tmp_path / "evil.pth").write_bytes(data)
                assert_refused(invoke("info", tmp_path / "evil.pth"), "evil.pth", "refused and nothing was executed")
                count += 1
    assert not trap.exists()
    assert count > 60


def test_a_whole_network_comes_with_the_two_lines_that_make_weights_of_it(tmp_path):
    torch.save(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 3)), tmp_path / "whole.pth")
    assert_refused(
        invoke("export", tmp_path / "whole.pth", "-o", tmp_path),
        "Sequential",
        'model = torch.load("whole.pth", weights_only=False); torch.save(model.state_dict(), "whole_weights.pth")',
    )
    assert [path.name for path in tmp_path.iterdir()] == ["whole.pth"]


@pytest.mark.parametrize(
    ("contents", "words"),
    [
        ({"state": {}, "param_groups": []}, "is the state of an optimizer"),
        ({"model.1.weight": torch.zeros(1).to_sparse()}, "is not a plain tensor"),
        ({"model.1.weight": torch.zeros(1).expand(2**40)}, "is not a plain tensor"),
        ({"model.1.weight": torch.zeros(1, dtype=torch.complex64)}, "is not a plain tensor"),
        ([torch.zeros(3)], "holds a list"),
        ({"a": {"b": {"c": {}}}}, "holds no weights"),
        ({3: torch.zeros(3)}, "holds no weights"),
        ({}, "holds no weights"),
    ],
)
def test_other_contents_are_named(contents, words, tmp_path):
    torch.save(contents, tmp_path / "x.pth")
    assert_refused(invoke("info", tmp_path / "x.pth"), words)


def test_other_kinds_of_files_are_named(tmp_path):
    header = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    (tmp_path / "x.pth").write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    assert_refused(invoke("info", tmp_path / "x.pth"), "seems to be a safetensors file")
    with zipfile.ZipFile(tmp_path / "y.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert_refused(invoke("info", tmp_path / "y.pth"), "y.pth")
    (tmp_path / "z.pth").write_text("hello")
    assert_refused(invoke("info", tmp_path / "z.pth"), "z.pth")
