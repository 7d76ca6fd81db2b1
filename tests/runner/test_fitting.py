"""Sizes: padding, tiles, mixed sizes in one folder, and what happens when memory runs out."""

import os
import queue
import sys
import threading
import time

import numpy as np
import pytest
from helpers.support import leftovers, photo, photo_crops, read_record, write_images

import p2p_deploy
from p2p_deploy.backends.base import Model
from p2p_deploy.errors import Failed, InputError, OutOfMemory
from p2p_deploy.media.image import files as image_files
from p2p_deploy.media.image.files import encode_image, read_image
from p2p_deploy.options import RunOptions
from p2p_deploy.runner import batch_size, scheduler, slots, threads
from p2p_deploy.runner.fitting import FitPlan, FitPlanner
from p2p_deploy.runner.receptive_field import receptive_radius
from p2p_deploy.runner.tiling import TileBlender, cut
from p2p_deploy.spec import ImageSpec, ModelSpec


def spec_of(arch="resnet", size=64, fixed=False, multiple=4, least=8, **kwargs):
    image = ImageSpec.for_channels(3)
    size = (size, size)
    return ModelSpec("test", arch, kwargs, (image,), image, multiple, least, size, size if fixed else None)


class Plain(Model):
    """Computes each image by itself; optionally has memory for few pixels only."""

    name = "plain"

    def __init__(self, spec, compute=lambda image: 255 - image, memory=2**62):
        super().__init__(spec, "cpu")
        self.compute, self.memory = compute, memory
        self.batches = []

    def submit(self, slot):
        if slot.count * slot.size[0] * slot.size[1] > self.memory:
            raise OutOfMemory(f"no room for {slot.count} x {slot.size}.")
        self.batches.append((slot.count, slot.size))
        for row in range(slot.count):
            slot.output[row] = self.compute(slot.input[row])

    def wait(self, slot):
        pass

    def versions(self):
        return {}


def any_size(spec, fit="auto", largest=2**40):
    return FitPlanner(spec, fit, largest, lambda size: True)


class TestPlans:
    def test_models_of_one_size_resize_and_others_pad_to_the_next_size(self):
        assert any_size(spec_of(fixed=True)).plan((50, 70)) == FitPlan("resize", (64, 64))
        assert any_size(spec_of()).plan((50, 70)) == FitPlan("pad", (52, 72))
        assert any_size(spec_of()).plan((3, 8)) == FitPlan("pad", (8, 8))

    def test_what_is_too_large_goes_in_tiles(self):
        plan = any_size(spec_of(norm="batch", n_blocks=1), largest=200 * 200).plan((500, 300))
        assert plan.how == "tile"
        assert plan.size[0] * plan.size[1] <= 200 * 200
        assert all(side % 4 == 0 for corner in plan.corners for side in corner)
        covered = np.zeros((500, 300), bool)
        for top, left in plan.corners:
            covered[top : top + plan.size[0], left : left + plan.size[1]] = True
        assert covered.all()

    @pytest.mark.parametrize(("fit", "fixed", "words"), [("pad", True, "dynamic=True"), ("pad", True, "64x64")])
    def test_what_a_model_cannot_do_is_refused(self, fit, fixed, words):
        with pytest.raises(InputError, match=words):
            any_size(spec_of(fixed=fixed), fit)

    def test_a_plan_that_does_not_admit_a_size_gets_tiles(self):
        planner = FitPlanner(spec_of(), "auto", 2**40, lambda size: max(size) <= 64)
        assert planner.plan((64, 60)).how == "pad"
        assert planner.plan((200, 60)).size == (64, 64)


class TestPixels:
    @pytest.mark.parametrize("size", [(1, 1), (3, 5), (17, 64), (64, 64)])
    def test_padding_reflects(self, size):
        picture = photo_crops(1, 64)[0][: size[0], : size[1]]
        padded = cut(picture, FitPlan("pad", (64, 64)), 0)
        if min(size) > 1:
            rows, columns = (np.pad(np.arange(side), (0, 64 - side), mode="reflect") for side in size)
            np.testing.assert_array_equal(padded, picture[rows][:, columns])
        assert padded.shape == (64, 64, 3)

    @pytest.mark.parametrize("picture", [(100, 100), (64, 300), (201, 97), (65, 65)])
    @pytest.mark.parametrize("fit", ["tile"])
    def test_tiles_of_an_unchanged_picture_make_the_picture(self, picture, fit):
        for fixed in (True, False):
            plan = any_size(spec_of(arch="identity", fixed=fixed), fit).plan(picture)
            image = np.random.default_rng(0).integers(0, 256, (*picture, 3), np.uint8)
            blender = TileBlender(plan, picture)
            for index in range(len(plan.corners)):
                whole = blender.add(index, cut(image, plan, index))
            assert len(plan.corners) > 1 or picture == (64, 64)
            np.testing.assert_array_equal(np.rint(whole[: picture[0], : picture[1]]), image)


REACHING = [
    ("resnet", {"n_blocks": 1, "norm": "batch", "ngf": 4}),
    ("resnet", {"n_blocks": 3, "norm": "batch", "ngf": 4}),
    ("resnet", {"n_blocks": 1, "n_downs": 3, "norm": "batch", "ngf": 4}),
    ("unet", {"num_downs": 5, "ngf": 4}),
]


class TestReach:
    @pytest.mark.parametrize(("arch", "kwargs"), [*REACHING, ("unet", {"num_downs": 5, "ngf": 4, "neck": "pan"})])
    def test_nothing_further_away_matters(self, arch, kwargs):
        """Change one pixel: no output further away than the reach moves, and some output near it does."""
        import torch
        from helpers.networks import vary_output

        from p2p_deploy.generators import build_generator

        torch.manual_seed(0)
        side, at = 416, 208
        x = torch.rand(1, 3, side, side) * 2 - 1
        generator = vary_output(build_generator(arch, kwargs), x).double()
        x = x.double()
        changed = x.clone()
        changed[..., at, at] *= -1
        with torch.no_grad():
            moved = (generator(x) - generator(changed)).abs().amax((0, 1)) > 0
        rows, columns = moved.nonzero(as_tuple=True)
        furthest = int(max((rows - at).abs().max(), (columns - at).abs().max()))
        assert furthest <= receptive_radius(spec_of(arch, **kwargs))
        assert furthest >= 6

    @pytest.mark.parametrize(("arch", "kwargs"), REACHING)
    def test_tiles_that_overlap_by_it_are_exact(self, arch, kwargs):
        """The picture in tiles is the picture at once, to the last bit of what is written."""
        import torch
        from helpers.networks import vary_output

        from p2p_deploy.generators import build_generator

        torch.manual_seed(1)
        network = build_generator(arch, kwargs)
        spec = spec_of(arch, multiple=network.size_multiple, least=max(network.min_size, 16), **kwargs)
        sees = receptive_radius(spec)
        picture = photo("coffee.png")[:400, :600] if sees > 60 else photo("coffee.png")[:200, :360]
        vary_output(network, torch.from_numpy(picture.copy()).permute(2, 0, 1)[None, :, :192, :352].float() / 127.5 - 1)

        def compute(image):
            with torch.no_grad():
                return network(torch.from_numpy(image.copy()).permute(2, 0, 1)[None].float() / 127.5 - 1)[0]

        side = max(-(-(4 * sees + 32) // network.size_multiple) * network.size_multiple, 64)
        planner = any_size(spec, largest=side * side)
        plan = planner.plan(picture.shape[:2])
        assert plan.how == "tile"
        assert plan.exact
        assert len(plan.corners) > 1
        blender = TileBlender(plan, picture.shape[:2])
        for index in range(len(plan.corners)):
            tiles = blender.add(index, compute(cut(picture, plan, index)).permute(1, 2, 0).numpy())
        whole = compute(cut(picture, any_size(spec).plan(picture.shape[:2]), 0)).permute(1, 2, 0).numpy()
        height, width = picture.shape[:2]
        assert np.abs(tiles[:height, :width] - whole[:height, :width]).max() < 2e-5


def test_tiles_that_cannot_be_exact_say_so():
    assert "edges" in any_size(spec_of(norm="instance", n_blocks=1), "tile").plan((900, 900)).note((900, 900))
    assert "edges" not in any_size(spec_of(norm="batch", n_blocks=1), "tile").plan((900, 900)).note((900, 900))


class TestRuns:
    def test_fifty_shapes_three_slots_and_one_in_ten_broken(self, tmp_path, monkeypatch):
        monkeypatch.setattr(slots, "SLOTS", 3)
        random = np.random.default_rng(0)
        (tmp_path / "in").mkdir()
        expected = {}
        for index in range(300):
            path = tmp_path / "in" / f"{index:03d}.png"
            if index % 10 == 3:
                path.write_bytes(b"\x89PNG\r\n\x1a\n broken")
                continue
            image = random.integers(0, 256, (8 + index % 50, 40 - index % 5, 3), np.uint8)
            path.write_bytes(encode_image(image, ".png"))
            expected[path.name] = 255 - image
        model = Plain(spec_of())
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4))
        assert (summary.done, summary.failed) == (270, 30)
        for name, image in expected.items():
            np.testing.assert_array_equal(read_image(tmp_path / "out" / name)[0], image)
        assert not leftovers(tmp_path)

    def test_pictures_of_one_size_share_batches(self, tmp_path):
        for size in (32, 48):
            write_images(tmp_path / "in" / str(size), photo_crops(8, size))
        model = Plain(spec_of())
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=4, recursive=True))
        assert sorted(model.batches) == [(4, (32, 32))] * 2 + [(4, (48, 48))] * 2

    def test_tiles_through_a_run(self, tmp_path):
        pictures = photo_crops(3, 150)
        write_images(tmp_path / "in", pictures)
        model = Plain(spec_of(arch="identity", fixed=True))
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(fit="tile"))
        assert summary.done == summary.frames == 3
        for index, picture in enumerate(pictures):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], 255 - picture)
        assert any("tiles of 64x64" in note for note in summary.notes)

    def test_without_memory_for_a_batch_it_is_halved(self, tmp_path):
        pictures = photo_crops(12, 64)
        write_images(tmp_path / "in", pictures)
        model = Plain(spec_of(fixed=True), memory=3 * 64 * 64)
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=8))
        assert summary.done == 12
        assert max(count for count, _ in model.batches) <= 3
        assert summary.batch <= 4
        for index, picture in enumerate(pictures):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], 255 - picture)

    def test_without_memory_for_a_picture_it_is_cut(self, tmp_path):
        pictures = photo_crops(3, 256)
        write_images(tmp_path / "in", pictures)
        model = Plain(spec_of(), memory=100 * 100)
        summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=2))
        assert summary.done == 3
        for index, picture in enumerate(pictures):
            np.testing.assert_array_equal(read_image(tmp_path / "out" / f"{index:03d}.png")[0], 255 - picture)

    def test_a_model_of_one_size_that_never_fits_fails_with_a_sentence(self, tmp_path):
        write_images(tmp_path / "in", photo_crops(3, 64))
        with pytest.raises(Failed, match="too large for cpu"):
            p2p_deploy.run(Plain(spec_of(fixed=True), memory=100), tmp_path / "in", tmp_path / "out")

    def test_several_devices_share_the_work_and_keep_a_clip_in_order(self, tmp_path):
        from helpers.support import make_clip, read_clip

        write_images(tmp_path / "in", photo_crops(20, 64))
        frames = np.stack([np.full((64, 64, 3), 6 * index, np.uint8) for index in range(40)])
        make_clip(tmp_path / "in" / "clip.mp4", frames)
        slow, quick = (Plain(spec_of(fixed=True), lambda image: image) for _ in range(2))
        real = slow.submit
        slow.submit = lambda slot: (threading.Event().wait(0.02), real(slot))[1]
        summary = p2p_deploy.run([slow, quick], tmp_path / "in", tmp_path / "out", RunOptions(batch=2))
        assert summary.complete
        assert len(summary.infer_seconds) == 2
        assert 0 < len(slow.batches) < len(quick.batches)
        levels = [float(image.mean()) for _, image in read_clip(tmp_path / "out" / "clip.mp4")]
        assert levels == sorted(levels)
        assert len(levels) == 40

    def test_fail_fast_stops_at_the_first_failure(self, tmp_path):
        write_images(tmp_path / "in", photo_crops(60, 32))
        (tmp_path / "in" / "003.png").write_text("broken")
        summary = p2p_deploy.run(
            Plain(spec_of()), tmp_path / "in", tmp_path / "out", RunOptions(batch=2, fail_fast=True)
        )
        assert summary.failed == 1
        assert 0 < summary.done < 59
        assert not summary.complete
        assert not summary.interrupted
        lines = [line for line in read_record(tmp_path / "out") if "input" in line]
        assert len(lines) == summary.done + 1

    def test_a_stage_that_hangs_is_noticed(self, tmp_path, monkeypatch):
        write_images(tmp_path / "in", photo_crops(4, 32))
        monkeypatch.setattr(scheduler, "SILENCE_S", 0.5)
        monkeypatch.setattr(scheduler, "PATIENCE_S", 0.1)
        hung = threading.Event()
        monkeypatch.setattr(image_files.ImageSource, "decode", lambda self, *item: hung.wait(60))
        with pytest.raises(Failed, match=r"Nothing was finished for .*000\.png"):
            p2p_deploy.run(Plain(spec_of()), tmp_path / "in", tmp_path / "out")
        hung.set()


def test_the_batch_size_is_found_by_trying():
    size = batch_size.BatchSize(None)
    for _ in range(60):
        size.learn(size.now, 0.010 + 0.001 * size.now)  # a fixed cost that larger batches share
    assert size.now == batch_size.MOST
    size = batch_size.BatchSize(None)
    for _ in range(60):
        size.learn(size.now, 0.1 * size.now)
    assert size.now == 4  # of what is equally quick the largest below half a second
    size = batch_size.BatchSize(None)
    for _ in range(60):
        size.learn(size.now, 0.6 * size.now)
    assert size.now == 1
    size = batch_size.BatchSize(None)
    for _ in range(60):
        size.learn(size.now, 0.05 * size.now * (1 if size.now < 4 else 1.2))
    assert size.now == 2
    assert batch_size.BatchSize(7).now == 7


def nice():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere threads have no priorities of their own")
def test_threads_that_give_way_have_a_lower_priority_and_so_have_those_they_start():
    inbox = threads.Inbox()
    pool, equal = threads.Workers("codec", 2, inbox), threads.Workers("others", 1, inbox)

    def nice_inside():
        inner = queue.SimpleQueue()
        threading.Thread(target=lambda: inner.put(nice())).start()
        return nice(), inner.get(timeout=10)

    def ask(workers):
        outcomes = []
        group = threads.TaskGroup(8, outcomes.extend, inbox)
        for index in range(8):
            workers.do(threads.Task(group, index, threads.DECODING, nice_inside))
        inbox.get(timeout=10)()
        return outcomes

    pool.start()
    equal.start()

    assert ask(pool) == [(nice(), nice())] * 8
    pool.give_way()
    pool.give_way()  # of two devices each says so
    assert ask(pool) == [(19, 19)] * 8
    assert ask(equal) == [(nice(), nice())] * 8
    assert pool.stop(10)
    assert equal.stop(10)


@pytest.mark.parametrize(("seconds", "expected"), [(0.1, 3), (0, 0)])
def test_only_a_slow_network_has_the_cores_first(tmp_path, monkeypatch, seconds, expected):
    """Images, and both ways of videos: three kinds of threads give way."""
    gave_way = []
    monkeypatch.setattr(threads.Workers, "give_way", lambda workers: gave_way.append(workers))
    write_images(tmp_path / "in", photo_crops(8, 64))
    model = Plain(spec_of(), lambda image: (time.sleep(seconds), image)[1])
    assert p2p_deploy.run(model, tmp_path / "in", tmp_path / "out").complete
    assert len(gave_way) == expected
