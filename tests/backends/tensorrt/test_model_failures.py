"""What a failing GPU is said to be, and closing: in any thread, at any time, with nothing left behind."""

import gc
import threading

import numpy as np
import pytest
from helpers.fake_gpu import FakeCuda, answer
from helpers.plans import DESERIALIZE, FLAVOURS, SIZE, pictures, submit

from p2p_deploy.backends.cuda_runtime import CudaDevice
from p2p_deploy.errors import Failed, P2PError, StalePlan


def in_a_thread(work):
    """Do it in a new thread, and give back what it gives or raises."""
    found = []

    def run():
        try:
            found.append(work())
        except Exception as exc:
            found.append(exc)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    return found[0]


# What TensorRT says when it loads no plan.


@pytest.mark.parametrize(
    "says",
    [
        ["[defaultAllocator.cpp::allocate::48] Error Code 1: Cuda Runtime (out of memory)", "Internal Error"],
        ["Error Code 2: OutOfMemory (Requested size was 73 bytes.)"],
        ["Requested amount of GPU memory (73 bytes) could not be allocated. There may not be enough free memory."],
        ["Internal Error (Engine deserialization failed.)", "catchCudaError: Cuda Driver (invalid device context)"],
        ["cudaErrorIllegalAddress"],
    ],
)
def test_a_gpu_that_fails_says_nothing_against_the_plan(opened, says):
    with pytest.raises(Failed, match=r"TensorRT 11\.4\.0\.106 cannot load .*small\.plan on cuda:0: .*end other prog"):
        opened(fail_at=DESERIALIZE, says=says)


@pytest.mark.parametrize(
    "says",
    [
        [],
        ["IRuntime::deserializeCudaEngine: Error Code 1: Serialization (Serialization assertion failed.)"],
        ["Error Code 6: API Usage Error (The engine plan file is generated on an incompatible device)"],
    ],
)
def test_a_plan_that_is_refused_for_what_it_is_is_stale(opened, says):
    with pytest.raises(StalePlan, match=r"refuses it: .*rebuild=True"):
        opened(fail_at=DESERIALIZE, says=says)


def test_only_what_was_said_since_the_call_is_quoted(opened):
    gpu, model = opened()
    with model:
        (slot,) = model.slots(1, 2)
        model._log.log(model._log.Severity.ERROR, "of yesterday, or of another model")
        gpu.says = ["of this batch"]
        gpu.fail_at = len(gpu.calls) + 6
        with pytest.raises(Failed, match=r"TensorRT refused a batch of 2 on cuda:0: of this batch\."):
            submit(model, slot, pictures(2, SIZE))
        gpu.says = []
        gpu.fail_at = len(gpu.calls) + 2
        with pytest.raises(Failed, match="refused the address of frames on cuda:0: it gave no reason"):
            submit(model, slot, pictures(1, SIZE))


# Closing.


def test_waiting_after_closing_touches_no_event_that_is_gone(opened):
    gpu, model = opened()
    (slot,) = model.slots(1, 1)
    submit(model, slot, pictures(1, SIZE))
    model.close()
    waits = gpu.calls.count("cudaEventSynchronize")
    with pytest.raises(ValueError, match="is closed"):
        model.wait(slot)
    assert gpu.calls.count("cudaEventSynchronize") == waits


@pytest.mark.timeout(30)
def test_closing_lets_a_call_in_another_thread_finish(opened, monkeypatch):
    gpu, model = opened()
    frames = pictures(1, SIZE)
    under_way, closing = threading.Event(), threading.Event()
    wait = model.wait

    def slow(slot):
        under_way.set()
        closing.wait(1)  # as long as the GPU takes; close must not be done by then
        assert "Context" in gpu.live
        wait(slot)

    monkeypatch.setattr(model, "wait", slow)

    def close():
        under_way.wait(10)
        model.close()
        closing.set()

    closer = threading.Thread(target=close)
    closer.start()
    np.testing.assert_array_equal(model(frames), answer(frames))
    closer.join(10)
    assert closing.is_set()
    with pytest.raises(ValueError, match="is closed"):
        model(frames)


@pytest.mark.timeout(30)
def test_what_a_thread_is_calling_it_may_close_itself(opened, monkeypatch):
    """As a signal handler does, which runs in the main thread wherever that is."""
    _, model = opened()
    wait = model.wait

    def interrupted(slot):
        model.close()
        wait(slot)

    monkeypatch.setattr(model, "wait", interrupted)
    with pytest.raises(ValueError, match="is closed"):
        model(pictures(1, SIZE))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("used", [True, False])
def test_closing_is_done_on_the_models_gpu_and_leaves_each_thread_its_own(opened, flavour, used):
    gpu, model = opened(flavour=flavour, count=3, device=2, options={"device": "cuda:2"})
    if used:
        model(pictures(1, SIZE))

    def close():
        gpu.current.device = 1
        model.close()
        return gpu.current.device

    assert in_a_thread(close) == 1
    assert gpu.current.device == 2


def test_slots_forgotten_in_another_thread_leave_it_its_gpu(opened):
    gpu, model = opened(count=3, device=2, options={"device": "cuda:2"})
    slots = model.slots(2, 1)

    def forget():
        gpu.current.device = 1
        slots.clear()
        return gpu.current.device

    with model:
        assert in_a_thread(forget) == 1
        assert "Context" not in gpu.live


def test_closing_works_where_the_gpu_cannot_be_selected(opened):
    gpu, model = opened()
    model(pictures(1, SIZE))
    gpu.fail_at = len(gpu.calls)
    model.close()
    assert gpu.calls[-1] == "cudaSetDevice"


@pytest.mark.parametrize("enabled", [True, False])
def test_nothing_is_collected_during_a_capture_and_later_as_before(opened, enabled):
    gpu, model = opened()
    found = []
    with model:
        (slot,) = model.slots(1, 1)
        device = CudaDevice(FakeCuda(gpu), 0)
        try:
            (gc.enable if enabled else gc.disable)()
            device.drop_graph(device.capture(slot.lane._stream, lambda: found.append(gc.isenabled())))
            found.append(gc.isenabled())
            with pytest.raises(ZeroDivisionError):
                device.capture(slot.lane._stream, lambda: 1 // 0)
            found.append(gc.isenabled())
        finally:
            gc.enable()
    assert found == [False, enabled, enabled]


# Failure and release.


def use_everything(opened, **gpu):
    """Open, run warm, capture, replay, change shape, run as a pipeline does, drop slots, close."""
    pretended, model = opened(**gpu)
    frames = pictures(3, SIZE)
    with model:
        slots = model.slots(2, 3)
        for count in (3, 3, 3, 2):
            for slot in slots:
                submit(model, slot, frames[:count])
            for slot in slots:
                model.wait(slot)
        del slots, slot
        model(frames)
    return pretended


def attempt(opened, fail_at, flavour):
    """What is said when one call fails; its traceback, which keeps slots alive, is gone."""
    try:
        use_everything(opened, flavour=flavour, fail_at=fail_at)
    except P2PError as exc:
        return type(exc), str(exc)
    return None


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_whichever_call_fails_it_is_said_and_nothing_is_left(opened, flavour):
    calls = use_everything(opened, flavour=flavour).calls
    assert len(calls) > 40
    silent = set()
    for index, name in enumerate(calls):
        found = attempt(opened, index, flavour)
        if found is None:
            silent.add(name)
            continue
        assert found[0] in (Failed, StalePlan), found
        assert name in found[1] or "TensorRT" in found[1], (name, found)
        if name.startswith("cuda"):
            assert "(" in found[1], found
            assert "cudaError" in found[1], found
    # A graph that cannot be had is done without; closing selects the GPU and does not mind.
    capturing = {"cudaStreamBeginCapture", "cudaStreamEndCapture", "cudaGraphInstantiate", "cudaMemcpyAsync"}
    assert silent <= {*capturing, "execute_async_v3", "cudaSetDevice"}


def test_a_gpu_that_fails_while_it_works_is_named_and_closing_still_works(opened):
    gpu, model = opened()
    gpu.broken = type(gpu.broken).cudaErrorIllegalAddress
    with model, pytest.raises(Failed, match=r"cudaEventSynchronize failed on cuda:0: cudaErrorIllegalAddress \("):
        model(pictures(1, SIZE))


def test_a_batch_that_tensorrt_refuses_is_named_with_its_reason(opened):
    gpu, model = opened()
    with model:
        (slot,) = model.slots(1, 2)
        slot.count = 2
        gpu.says = ["the workspace is too small"]
        gpu.fail_at = len(gpu.calls) + 6
        with pytest.raises(Failed, match=r"TensorRT refused a batch of 2 on cuda:0: the workspace is too small"):
            model.submit(slot)


def test_memory_that_is_not_there_asks_for_a_smaller_batch(opened):
    gpu, model = opened()
    with model:
        gpu.fail_at = len(gpu.calls) + 2
        with pytest.raises(
            Failed, match=r"cudaMallocHost.*cudaErrorMemoryAllocation \(out of memory\).*smaller `batch`"
        ):
            model.slots(2, 4)


@pytest.mark.parametrize("flavour", FLAVOURS)
def test_the_last_thing_acquired_is_released_first(opened, flavour):
    gpu, model = opened(flavour=flavour)
    for _ in range(3):
        model(pictures(1, SIZE))
    gpu.released.clear()
    model.close()
    graphs = ["replay"] if flavour == "tensorrt" else []
    rtx = ["Cache", "Config"] if flavour == "rtx" else []
    slot = [*graphs, "Context", "event", "stream", "memory", "memory", "pinned", "pinned"]
    assert gpu.released == [*slot, *rtx, "Engine", "Runtime"]


def test_closing_waits_for_what_is_under_way_and_leaves_arrays_that_someone_has(opened):
    gpu, model = opened("late")
    frames = pictures(2, SIZE)
    (slot,) = model.slots(1, 2)
    submit(model, slot, frames)
    model.close()
    assert gpu.live == {"pinned": 2}
    row = slot.output[1]
    np.testing.assert_array_equal(row, answer(frames)[1])
    del slot
    assert gpu.live == {"pinned": 1}
    np.testing.assert_array_equal(row, answer(frames)[1])


def test_slots_that_are_forgotten_give_their_memory_back_at_once(opened):
    gpu, model = opened("late")
    with model:
        before = dict(gpu.live)
        slots = model.slots(3, 2)
        submit(model, slots[1], pictures(2, SIZE))
        assert gpu.live != before
        del slots
        assert gpu.live == before


def test_the_pretended_gpu_notices_what_it_is_there_for(opened):
    """Else the tests above would say nothing."""
    frames = pictures(2, SIZE)
    for mistake in ("input", "output", "graph"):
        gpu, model = opened("late")
        with model:
            (slot,) = model.slots(1, 2)
            submit(model, slot, frames)
            if mistake == "input":
                slot.input[...] = 0
            if mistake == "output":
                assert (slot.output == 0xA5).all()
            model.wait(slot)
            if mistake == "graph":
                submit(model, slot, frames)
                model.wait(slot)
                slot.lane.context.set_input_shape("frames", (1, SIZE, SIZE, 3))
                submit(model, slot, frames)
                model.wait(slot)
        expected = {"input": ["an input was rewritten before it had been copied"], "output": []}
        assert gpu.violations == expected.get(mistake, ["a graph was replayed after its context had been changed"])
        gpu.violations.clear()
