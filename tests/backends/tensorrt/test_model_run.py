"""Plans on a pretended GPU that works as late, or as early, as it may. No real GPU has a part in this."""

import shutil
import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from helpers.fake_gpu import answer, answer_maps
from helpers.plans import DESERIALIZE, FLAVOURS, SIZE, pictures, profile, submit
from helpers.support import unet_spec, write_images

import p2p_deploy
from p2p_deploy.backends import load
from p2p_deploy.errors import Failed, StalePlan
from p2p_deploy.media.image.files import read_image
from p2p_deploy.options import LoadOptions, RunOptions
from p2p_deploy.pixels import to_values
from p2p_deploy.spec import ImageSpec

MAPS = unet_spec(size=SIZE).with_changes(inputs=(ImageSpec.for_labels(9), ImageSpec.for_instances()))
PACES = ("late", "early", "random")


@pytest.fixture(params=[(pace, flavour) for flavour in FLAVOURS for pace in PACES], ids="-".join)
def model(request, opened):
    with opened(*request.param)[1] as model:
        yield model


# The contract of every runtime, as in test_contract.py.


def test_gives_the_networks_pictures_at_every_batch_size(model):
    frames = pictures(7, SIZE)
    for batch in (1, 3, 7, 2, 7, 7, 7):
        np.testing.assert_array_equal(model(frames[:batch]), answer(frames[:batch]))


def test_slots_in_a_ring_keep_their_own_outputs(model):
    frames = pictures(7, SIZE)
    slots = model.slots(3, 2)
    for _ in range(4):  # with other work under way, and replayed from the third time on
        for slot, first in zip(slots, (0, 2, 4), strict=True):
            submit(model, slot, frames[first : first + 2])
        for slot, first in zip(slots, (0, 2, 4), strict=True):
            model.wait(slot)
            np.testing.assert_array_equal(slot.output, answer(frames[first : first + 2]))


def test_writes_into_the_memory_of_the_slot_and_only_its_rows(model):
    (slot,) = model.slots(1, 4)
    address = slot.output.ctypes.data
    slot.output[...] = 77
    submit(model, slot, pictures(2, SIZE))
    model.wait(slot)
    assert slot.output.ctypes.data == address
    assert (slot.output[2:] == 77).all()
    assert (slot.output[:2] != 77).any()


@pytest.mark.parametrize("pace", PACES)
def test_values_go_in_and_come_out_as_float32(opened, pace):
    values = to_values(pictures(5, SIZE), (-1, 1))
    spec = unet_spec(size=SIZE).with_io("float32")
    _, model = opened(pace, engine={"spec": spec}, sidecar={"spec": spec})
    with model:
        for batch in (2, 5, 5, 5):
            np.testing.assert_array_equal(model(values[:batch]), answer(values[:batch]))
        with pytest.raises(ValueError, match=r"expected float32 frames of shape \(N, 3, H, W\)"):
            model(pictures(1, SIZE))


@pytest.mark.parametrize("pace", PACES)
def test_labels_and_instances_arrive_together(opened, pace):
    _, model = opened(pace, engine={"spec": MAPS}, sidecar={"spec": MAPS})
    chance = np.random.default_rng(0)
    with model:
        for batch in (2, 5, 5, 5, 1):
            labels = chance.integers(0, 9, (batch, SIZE, SIZE, 1), np.uint8)
            instances = chance.integers(0, 60_000, (batch, SIZE, SIZE, 1), np.int32)
            np.testing.assert_array_equal(model(labels, instances), answer_maps(labels, instances))


def test_inputs_in_another_order_are_refused(opened):
    """With more than 256 classes both are int32, and only their names tell them apart."""
    many = MAPS.with_changes(inputs=(ImageSpec.for_labels(300), ImageSpec.for_instances()))
    engine = SimpleNamespace(input_names=many.input_names[::-1], inputs=many.inputs[::-1], output=many.output)
    with pytest.raises(StalePlan, match=r"promises the inputs \['labels', 'instances'\], the engine has \['instances'"):
        opened(engine={"spec": engine}, sidecar={"spec": many})


def test_wrong_frames_are_refused_with_what_was_expected(model):
    with pytest.raises(ValueError, match="expected uint8 frames of shape"):
        model(np.zeros((1, SIZE, SIZE, 1), np.uint8))


def test_a_batch_that_no_profile_admits_is_refused(model):
    with pytest.raises(Failed, match=r"1000000000000000 frames of 64x64.*batch 1 to 8.*smaller `batch`, at most 8"):
        model.slots(1, 10**15)


def test_a_closed_model_says_so(model):
    (slot,) = model.slots(1, 1)
    model.close()
    for use in (lambda: model(pictures(1, SIZE)), lambda: model.submit(slot), lambda: model.slots(1, 1)):
        with pytest.raises(ValueError, match="is closed"):
            use()
    model.close()


def test_says_what_a_measurement_needs(model):
    assert all(isinstance(value, str) and value for value in model.versions().values())


# Order, graphs, profiles.


@pytest.mark.parametrize("pace", PACES)
@pytest.mark.parametrize("flavour", FLAVOURS)
def test_every_picture_of_a_run_gets_its_own_output(opened, tmp_path, pace, flavour):
    frames = pictures(23, SIZE)
    paths = write_images(tmp_path / "in", frames)
    paths[5].write_bytes(b"not a picture")  # so that batches have gaps, and other shapes
    gpu, model = opened(pace, flavour)
    with model:
        for _ in range(2):
            summary = p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=3, overwrite=True))
            assert (summary.done, summary.failed) == (22, 1)
        for index in {*range(23)} - {5}:
            written = read_image(tmp_path / "out" / f"{index:03d}.png")[0]
            np.testing.assert_array_equal(written, answer(frames[index : index + 1])[0])
        if pace == "late":
            assert gpu.most_in_flight >= model.in_flight == 2


def test_runs_one_after_another_take_no_more_than_one_of_them(opened, tmp_path):
    (tmp_path / "in").mkdir()
    for name in "abc":
        (tmp_path / "in" / f"{name}.png").write_bytes(b"not a picture")
    gpu, model = opened()
    with model:
        for _ in range(3):
            p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=2, fit="resize"))
        model.slots(1, 1)
        assert gpu.live.get("stream", 0) == 0
        assert gpu.calls.count("cudaStreamCreateWithFlags") > 10


@pytest.mark.parametrize("pace", PACES)
def test_on_each_stream_copies_and_network_come_in_order(opened, pace):
    gpu, model = opened(pace)
    with model:
        slots = model.slots(2, 2)
        for _ in range(4):
            for slot in slots:
                submit(model, slot, pictures(2, SIZE))
            for slot in slots:
                model.wait(slot)
        for stream in {stream for stream, _ in gpu.done}:
            assert [work for number, work in gpu.done if number == stream] == 4 * [
                "CopyIn",
                "Execute",
                "CopyOut",
                "Record",
            ]
        assert len({stream for stream, _ in gpu.done}) == 2


def test_waiting_for_one_slot_leaves_the_other_alone(opened):
    gpu, model = opened("late")
    with model:
        first, second = model.slots(2, 1)
        for slot in (first, second):
            submit(model, slot, pictures(1, SIZE))
        model.wait(second)
        assert {stream for stream, _ in gpu.done} == {int(second.lane._stream)}
        model.wait(first)


def test_a_graph_is_captured_once_when_a_shape_comes_again(opened):
    gpu, model = opened()
    with model:
        (slot,) = model.slots(1, 4)
        for count in (4, 4, 4, 4, 2, 2, 2, 1):
            submit(model, slot, pictures(count, SIZE))
            model.wait(slot)
        assert gpu.captures == [(4, SIZE, SIZE, 3), (2, SIZE, SIZE, 3)]
        assert gpu.calls.count("execute_async_v3") == 5  # a first run for each shape, and the captures
        assert model.versions()["cuda_graphs"] == "captured for each shape"


def test_graphs_can_be_turned_off(opened):
    gpu, model = opened(options={"cuda_graphs": False})
    with model:
        for _ in range(3):
            model(pictures(2, SIZE))
        assert not gpu.captures
        assert model.versions()["cuda_graphs"] == "off"


def test_a_plan_that_cannot_be_captured_runs_without_graphs_and_says_so(opened):
    gpu, model = opened()
    gpu.refuses_capture = True
    frames = pictures(2, SIZE)
    with model:
        for _ in range(4):
            np.testing.assert_array_equal(model(frames), answer(frames))
        assert gpu.calls.count("cudaStreamBeginCapture") == 1
        assert "cudaErrorStreamCaptureInvalidated" in model.versions()["cuda_graphs"]


def test_rtx_captures_by_itself(opened):
    gpu, model = opened(flavour="rtx")
    with model:
        for _ in range(3):
            model(pictures(2, SIZE))
        assert gpu.calls.count("cudaStreamBeginCapture") == 0
        assert model._config.cuda_graph_strategy.name == "WHOLE_GRAPH_CAPTURE"
    _, model = opened(flavour="rtx", options={"cuda_graphs": False})
    with model:
        assert model._config.cuda_graph_strategy.name == "DISABLED"


def test_rtx_keeps_its_kernels_beside_the_plan(opened, tmp_path):
    gpu, model = opened(flavour="rtx")
    model.close()
    assert (tmp_path / "small.plan.cache").read_bytes() == b"compiled kernels"
    assert gpu.cached_kernels is None
    gpu, model = opened(flavour="rtx")
    model.close()
    assert gpu.cached_kernels == b"compiled kernels"


def test_kernels_that_cannot_be_kept_cost_nothing_but_time(opened, tmp_path):
    (tmp_path / "small.plan.cache").mkdir()
    _, model = opened(flavour="rtx")
    model.close()
    shutil.rmtree(tmp_path / "small.plan.cache")


def test_each_shape_runs_in_the_smallest_profile_that_admits_it(opened):
    wide = profile((1, 8, 16), (32, 64, 128))
    _, model = opened(profiles=(wide, profile((1, 1, 1)), profile((1, 4, 4))))
    with model:
        (slot,) = model.slots(1, 8)
        used = []
        for count in (1, 3, 8):
            submit(model, slot, pictures(count, SIZE))
            model.wait(slot)
            used.append(slot.lane.context.profile)
        assert used == [1, 2, 0]
        frames = pictures(2, 128)
        np.testing.assert_array_equal(model(frames), answer(frames))
        with pytest.raises(Failed, match=r"1 frames of 256x256 pixels.*32x32 to 128x128.*another size"):
            model(pictures(1, 256))


def test_every_thread_uses_the_gpu_that_was_asked_for(opened):
    _, model = opened(count=3, device=2, options={"device": "cuda:2"})
    frames, found = pictures(2, SIZE), []
    assert model.device == "cuda:2"
    model(frames)
    for work in (
        lambda: found.append(model(frames)),  # in a slot that another thread made
        lambda: found.append(model(pictures(5, SIZE))),  # in one of its own
        model.close,
    ):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    np.testing.assert_array_equal(found[0], answer(frames))
    np.testing.assert_array_equal(found[1], answer(pictures(5, SIZE)))


def test_a_trusted_plan_may_bring_its_code(opened):
    gpu, model = opened(options={"trust_plan": True}, sidecar={"version_compatible": True})
    model.close()
    assert gpu.host_code_allowed is True
    gpu, model = opened()
    model.close()
    assert gpu.host_code_allowed is False


# Plans that are not what they say.


@pytest.mark.parametrize(
    ("engine", "said"),
    [
        (
            {"spec": unet_spec().with_changes(inputs=(ImageSpec.for_channels(1),))},
            r"sidecar promises .*UINT8.*-1, 3\).*the engine has .*-1, 1\)",
        ),
        ({"spec": unet_spec().with_io("float32")}, r"sidecar promises .*UINT8.*the engine has .*FLOAT"),
        ({"spec": MAPS}, r"sidecar promises .*UINT8.*the engine has .*INT32"),
        ({"profiles": (profile((1, 1, 2)),)}, r"sidecar promises batch 1 to 8.*the engine has batch 1 to 2"),
    ],
)
def test_an_engine_that_is_not_what_its_sidecar_says_is_refused(opened, engine, said):
    with pytest.raises(StalePlan, match=rf"{said}.*rebuild=True"):
        opened(engine=engine)


def test_a_plan_that_tensorrt_refuses_is_refused_with_its_reason(opened):
    said = "the magic tag does not match"
    with pytest.raises(StalePlan, match=rf"TensorRT 11\.4\.0\.106 refuses it: {said}.*rebuild=True"):
        opened(fail_at=DESERIALIZE, says=[said])


# On a GPU.


@pytest.fixture
def on_gpu(request):
    """The small U-Net's plan and checkpoint, on a machine with a GPU that the plan is for."""
    from p2p_deploy.backends import cuda

    if cuda.device_count() == 0:
        pytest.skip("no NVIDIA GPU: plans have not been run here")
    plan = request.getfixturevalue("exported").plan.plan
    try:
        load(plan).close()
    except StalePlan as exc:
        pytest.skip(f"this GPU is none that the plan is for: {exc}")
    return plan, request.getfixturevalue("checkpoint")


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graphs", [True, False])
def test_a_real_gpu_gives_the_checkpoints_pictures(on_gpu, cuda_graphs):
    plan, checkpoint = on_gpu
    frames = pictures(7, SIZE)
    with load(checkpoint) as reference:
        expected = reference(frames).astype(int)
    with load(plan, LoadOptions(cuda_graphs=cuda_graphs)) as model:
        for batch in (1, 4, 4, 4, 2, 4):
            assert np.abs(model(frames[:batch]).astype(int) - expected[:batch]).max() <= 8
        slots = model.slots(3, 2)
        for _ in range(4):
            for slot, first in zip(slots, (0, 2, 4), strict=True):
                submit(model, slot, frames[first : first + 2])
            for slot, first in zip(slots, (0, 2, 4), strict=True):
                model.wait(slot)
                assert np.abs(slot.output.astype(int) - expected[first : first + 2]).max() <= 8


@pytest.mark.gpu
def test_a_real_gpu_runs_a_folder(on_gpu, tmp_path):
    frames = pictures(11, SIZE)
    write_images(tmp_path / "in", frames)
    with load(on_gpu[0]) as model:
        expected = np.concatenate([model(frames[index : index + 1]) for index in range(11)]).astype(int)
        p2p_deploy.run(model, tmp_path / "in", tmp_path / "out", RunOptions(batch=3))
    for index in range(11):
        written = cv2.cvtColor(cv2.imread(str(tmp_path / "out" / f"{index:03d}.png")), cv2.COLOR_BGR2RGB)
        assert np.abs(written.astype(int) - expected[index]).max() <= 8
