"""What a failing GPU is said to be, and closing: in any thread, at any time."""

import gc
import threading

import numpy as np
import pytest
from fake_gpu import FakeCuda, answer
from plans import FLAVOURS, SIZE, submit
from support import photo_crops

from p2p_deploy.backends.cuda_runtime import CudaDevice
from p2p_deploy.errors import Failed, StalePlan

DESERIALIZE = 2  # which call that is, after the GPU and the runtime


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
    with pytest.raises(StalePlan, match=r"refuses it: .*--rebuild"):
        opened(fail_at=DESERIALIZE, says=says)


def test_only_what_was_said_since_the_call_is_quoted(opened):
    gpu, model = opened()
    with model:
        (slot,) = model.slots(1, 2)
        model._log.log(model._log.Severity.ERROR, "of yesterday, or of another model")
        gpu.says = ["of this batch"]
        gpu.fail_at = len(gpu.calls) + 6
        with pytest.raises(Failed, match=r"TensorRT refused a batch of 2 on cuda:0: of this batch\."):
            submit(model, slot, photo_crops(2, SIZE))
        gpu.says = []
        gpu.fail_at = len(gpu.calls) + 2
        with pytest.raises(Failed, match="refused the address of frames on cuda:0: it gave no reason"):
            submit(model, slot, photo_crops(1, SIZE))


# Closing.


def test_waiting_after_closing_touches_no_event_that_is_gone(opened):
    gpu, model = opened()
    (slot,) = model.slots(1, 1)
    submit(model, slot, photo_crops(1, SIZE))
    model.close()
    waits = gpu.calls.count("cudaEventSynchronize")
    with pytest.raises(ValueError, match="is closed"):
        model.wait(slot)
    assert gpu.calls.count("cudaEventSynchronize") == waits


@pytest.mark.timeout(30)
def test_closing_lets_a_call_in_another_thread_finish(opened, monkeypatch):
    gpu, model = opened()
    frames = photo_crops(1, SIZE)
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
        model(photo_crops(1, SIZE))


@pytest.mark.parametrize("flavour", FLAVOURS)
@pytest.mark.parametrize("used", [True, False])
def test_closing_is_done_on_the_models_gpu_and_leaves_each_thread_its_own(opened, flavour, used):
    gpu, model = opened(flavour=flavour, count=3, device=2, options={"device": "cuda:2"})
    if used:
        model(photo_crops(1, SIZE))

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
    model(photo_crops(1, SIZE))
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
