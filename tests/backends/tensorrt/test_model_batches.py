"""Which shapes a plan computes for the batches it is given, and how much memory it takes for them."""

import numpy as np
import pytest
from helpers import fake_tensorrt
from helpers.fake_gpu import answer
from helpers.plans import FLAVOURS, SIZE, profile, submit
from helpers.support import photo_crops, unet_spec, write_images

import p2p_deploy
from p2p_deploy.errors import Failed, StalePlan
from p2p_deploy.media.image.files import read_image
from p2p_deploy.options import RunOptions
from p2p_deploy.pixels import to_values
from p2p_deploy.spec.sidecar import Profile, fixed_sizes

FOUR_OR_MORE = (profile((4, 4, 8)),)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_fewer_frames_than_the_profile_wants_are_computed_and_nothing_else_is_given_back(opened, flavour):
    frames = photo_crops(8, SIZE)
    _, model = opened(flavour=flavour, profiles=FOUR_OR_MORE)
    with model:
        (slot,) = model.slots(1, 6)
        assert (slot.capacity, slot.input.shape, slot.output.shape) == (6, (6, SIZE, SIZE, 3), (6, SIZE, SIZE, 3))
        for count in (6, 3, 3, 3, 1, 1, 1, 5):
            slot.output[...] = 77
            submit(model, slot, frames[:count])
            model.wait(slot)
            np.testing.assert_array_equal(slot.output[:count], answer(frames[:count]))
            assert (slot.output[count:] == 77).all()


@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_one_frame_runs_in_a_plan_for_four_or_more(opened, dtype):
    frames = photo_crops(1, SIZE)
    given = frames if dtype == "uint8" else to_values(frames, (-1, 1))
    spec = {"spec": unet_spec(size=SIZE).with_io(dtype)}
    gpu, model = opened(profiles=FOUR_OR_MORE, engine=spec, sidecar=spec)
    with model:
        for _ in range(3):
            np.testing.assert_array_equal(model(given), answer(given))
        (slot,) = model.slots(1, 1)
        assert slot.capacity == 1
        assert gpu.captures == [(4, *given.shape[1:])]


def test_a_run_whose_last_batch_is_smaller_is_done(opened, tmp_path):
    frames = photo_crops(7, SIZE)
    write_images(tmp_path / "in", frames)
    _, model = opened(profiles=FOUR_OR_MORE)
    with model:
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=5))
        assert (summary.done, summary.failed) == (7, 0)
    for index in range(7):
        written = read_image(tmp_path / "out" / f"{index:03d}.png")[0]
        np.testing.assert_array_equal(written, answer(frames[index : index + 1])[0])


def test_the_profile_with_the_fewest_rows_is_taken_and_of_those_the_smallest(opened):
    wide = profile((2, 2, 8), (32, 64, 128))
    _, model = opened(profiles=(wide, profile((4, 8, 8)), profile((16, 16, 16))))
    with model:
        expected = {1: (0, 2), 2: (0, 2), 3: (0, 3), 4: (1, 4), 8: (1, 8), 9: (2, 16), 16: (2, 16)}
        assert {count: model._profile_for(count, SIZE, SIZE) for count in expected} == expected
        (slot,) = model.slots(1, 9)
        for count in (9, 1, 4):
            frames = photo_crops(count, SIZE)
            submit(model, slot, frames)
            model.wait(slot)
            np.testing.assert_array_equal(slot.output[:count], answer(frames))


def test_no_frames_and_too_many_are_refused(opened):
    _, model = opened(profiles=FOUR_OR_MORE)
    with model:
        (slot,) = model.slots(1, 4)
        slot.count = 0
        with pytest.raises(Failed, match=r"0 frames of 64x64 pixels are outside.*batch 4 to 8"):
            model.submit(slot)
        with pytest.raises(Failed, match=r"9 frames of 64x64 pixels are outside.*at most 8"):
            model.slots(1, 9)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_a_context_takes_memory_for_its_profile_and_not_for_the_largest(opened, flavour):
    gpu, model = opened(flavour=flavour)
    with model:
        model.slots(2, 1)
        assert [strategy.name for strategy in gpu.strategies] == ["ON_PROFILE_CHANGE"] * 2


def test_where_a_profile_finds_no_room_what_makes_room_is_said(opened):
    gpu, model = opened(says=["Cuda Runtime (out of memory)"])
    with model:
        (slot,) = model.slots(1, 2)
        gpu.fail_at = len(gpu.calls) + 1
        with pytest.raises(
            Failed,
            match=r"refused profile 0 on cuda:0: Cuda Runtime \(out of memory\)\. Take a plan with a smaller maximum "
            r"size or batch, or end other programs that use this GPU",
        ):
            submit(model, slot, photo_crops(2, SIZE))
        frames = photo_crops(2, SIZE)  # the other programs have ended
        submit(model, slot, frames)
        model.wait(slot)
        np.testing.assert_array_equal(slot.output, answer(frames))


FIXED = profile((2, 2, 2))


@pytest.mark.parametrize("reported", [(-1, -1, -1), (2, SIZE, SIZE), (2, -1, -1), (-1, SIZE, SIZE)])
def test_an_engine_may_give_a_size_that_all_profiles_fix(opened, monkeypatch, reported):
    report(monkeypatch, reported)
    _, model = opened(profiles=(FIXED, FIXED))
    with model:
        frames = photo_crops(2, SIZE)
        np.testing.assert_array_equal(model(frames), answer(frames))


@pytest.mark.parametrize("reported", [(3, SIZE, SIZE), (2, SIZE, 2 * SIZE)])
def test_an_engine_of_another_fixed_size_is_refused(opened, monkeypatch, reported):
    report(monkeypatch, reported)
    with pytest.raises(StalePlan, match="its sidecar promises"):
        opened(profiles=(FIXED,))


def test_a_size_that_varies_must_be_given_as_varying(opened, monkeypatch):
    report(monkeypatch, (4, SIZE, SIZE))
    with pytest.raises(StalePlan, match="its sidecar promises"):
        opened(profiles=FOUR_OR_MORE)


def report(monkeypatch, sizes):
    """Let every engine give its tensors these sizes."""
    batch, *sides = sizes
    monkeypatch.setattr(
        fake_tensorrt.Engine, "get_tensor_shape", lambda engine, name: (batch, *engine.tensors[name].shape(*sides))
    )


def test_sizes_are_fixed_where_every_profile_says_the_same():
    assert fixed_sizes((FIXED, FIXED)) == (2, SIZE, SIZE)
    assert fixed_sizes((FIXED, profile((3, 3, 3)))) == (-1, SIZE, SIZE)
    assert fixed_sizes((Profile((1, 1, 1), (32, 64, 64), (96, 96, 96)),)) == (1, -1, 96)
