"""Where batches are computed: for each model opened, a thread, its slots, and a way out when memory is short."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue

import numpy as np

from p2p_deploy.backends.base import Model, Slot
from p2p_deploy.errors import Failed, OutOfMemory
from p2p_deploy.runner.threads import Inbox, WorkerCrash, Workers, join
from p2p_deploy.runner.tiling import FitPlanner, Size, TileBlender, cut
from p2p_deploy.spec import ImageSpec

# One slot being filled, one being computed, one being written, and one to spare for whichever stage is late.
SLOTS = 4
MOST = 32  # images in a batch, where nobody says how many
# What a slot may hold; pictures that are larger go through alone. More would gain no speed, and a run would spend its
# time on having memory cleared: large pictures keep a device busy in small batches.
SLOT_BYTES = 2**25
_TRIED = 8  # batch sizes up to this are all tried
_MUCH = 8  # times what codecs take: a network that does gets the cores before them
_NEAR = 1.15  # times the best: as good as the best, as far as one can tell
_LONG = 0.5  # seconds in a batch, beyond which no larger one is tried, and none is larger for nothing
_TOO_SHORT = 0.01  # seconds in a batch, below which handing it round costs more than computing it


class BatchSize:
    """How many images are computed at once: as asked, or what turns out to be quickest.

    It begins with one and doubles, on the images of the run themselves, until a batch takes half a second; above 8 only
    as long as it gains. Then the largest is kept that comes within 15 % of the best and takes at most half a second:
    two tries tell sizes apart no better, and what goes on between batches is seldom then. It takes at least 10 ms.

    Attributes:
        asked: what the user wants, or None.
        most: images that a slot has room for.
        now: images that the next batch should have.
    """

    def __init__(self, asked: int | None) -> None:
        self.asked = asked
        self.most = asked or MOST
        self.now = asked or 1
        self._settled = asked is not None
        self._best: dict[int, list[float]] = {}

    def learn(self, count: int, seconds: float) -> None:
        """A batch of ``count`` took so long."""
        if self._settled or count != self.now:
            return
        times = self._best.setdefault(count, [])
        times.append(seconds / count)
        if len(times) < (3 if count == 1 else 2):  # the first one of all warms up
            return
        best = {size: min(found) for size, found in self._best.items()}
        gained = count == 1 or best[count] < 0.97 * best[count // 2]
        if seconds < _LONG and 2 * count <= self.most and (gained or count < _TRIED):
            self.now = 2 * count
        else:
            quickest = min(best.values())
            near = sorted(size for size, each in best.items() if each <= _NEAR * quickest)
            self.now = max((size for size in near if size * best[size] <= _LONG), default=near[0])
            while 2 * self.now <= self.most and self.now * quickest < _TOO_SHORT:
                self.now *= 2
            self._settled = True

    def limit(self, count: int) -> None:
        """There is no memory for more."""
        self.most = max(1, min(self.most, count))
        self.now = min(self.now, self.most)


class Device:
    """A model, its slots, and the thread that computes with it.

    Attributes:
        backend: the model.
        batch: how many images a slot should get.
        busy: seconds spent computing.
        computed: batches.
        load: slots that are out of the ring.
    """

    def __init__(self, backend: Model, batch: int | None, fitting: FitPlanner, inbox: Inbox) -> None:
        self.backend = backend
        self.batch = BatchSize(batch)
        self.busy = 0.0
        self.computed = 0
        self.load = 0
        self._fitting = fitting
        self._inbox = inbox
        self._most_slots = SLOTS + backend.in_flight - 1
        self._free: list[Slot] = []
        self._queue: SimpleQueue[tuple[Slot, Callable[[], None]] | None] = SimpleQueue()
        self._stopping = False
        self._sharing: Sequence[Workers] = ()
        self._thread = threading.Thread(target=self._serve, name=f"infer-{backend.device}", daemon=True)

    def start(self, sharing: Sequence[Workers] = ()) -> None:
        """Begin to compute; ``sharing`` are threads on the same cores, which give way once the network proves slow."""
        self._sharing = sharing
        self._thread.start()

    def allocate(self, size: Size | None) -> None:
        """Allocate slots of the size that all pictures will have, so that a model that refuses does so now.

        Raises:
            Failed: there is not enough memory, or the model does not take such batches.
        """
        if size is not None:
            self._free = self.backend.slots(self._most_slots, self.capacity(size), size)

    def capacity(self, size: Size) -> int:
        """Images of (height, width) that a slot has room for."""
        if self.batch.asked and self._fitting.same_for_all is not None:
            return self.batch.most
        height, width = size
        spec = self.backend.spec
        each = sum(
            int(np.prod(image.shape(height, width))) * np.dtype(image.dtype).itemsize
            for image in (*spec.inputs, spec.output)
        )
        return max(1, min(self.batch.most, self.backend.max_batch(size), SLOT_BYTES // each))

    def take(self, size: Size) -> Slot | None:
        """A free slot for images of this size, or None; where all are of other sizes, one of them is replaced."""
        if self.load >= self._most_slots:
            return None
        slot = next((slot for slot in self._free if slot.size == size), None)
        if slot is not None:
            self._free.remove(slot)
        else:
            if self.load + len(self._free) >= self._most_slots:
                del self._free[0]
            slot = self._new_slot(size)
        self.load += 1
        slot.count = 0
        return slot

    def _new_slot(self, size: Size) -> Slot:
        capacity = self.capacity(size)
        while True:
            try:
                return self.backend.slots(1, capacity, size)[0]
            except OutOfMemory:
                if capacity == 1:
                    raise
                capacity //= 2
                self.batch.limit(capacity)

    def give(self, slot: Slot) -> None:
        """Take a slot back; its arrays may be overwritten from now on."""
        self.load -= 1
        self._free.append(slot)

    def compute(self, slot: Slot, then: Callable[[], None]) -> None:
        """Queue a batch; ``then`` is posted to the inbox when its output is valid."""
        self._queue.put((slot, then))

    def _serve(self) -> None:
        """Keep as many batches in flight as the runtime takes, and finish them in order."""
        under_way: deque[tuple[Slot, Callable[[], None], bool, float]] = deque()
        now, ended = time.perf_counter, 0.0
        try:
            while True:
                if under_way and (len(under_way) >= self.backend.in_flight or self._queue.empty()):
                    slot, then, computed, started = under_way.popleft()
                    if not computed:
                        self._wait(slot)
                    started, ended = max(started, ended), now()
                    self.busy += ended - started
                    self.computed += 1
                    self.batch.learn(slot.count, ended - started)
                    self._claim_cores()
                    self._inbox.put(then)
                    continue
                item = self._queue.get()
                if item is None:
                    return
                if not self._stopping:
                    started = now()
                    under_way.append((*item, self._submit(item[0]), started))
        except BaseException as exc:
            self._inbox.put(WorkerCrash(exc))
        finally:
            for slot, *_ in under_way:  # memory that the device may still write to
                with contextlib.suppress(Exception):  # the failure that ended the run is the one that is told
                    self.backend.wait(slot)

    def _submit(self, slot: Slot) -> bool:
        """Submit a batch; True when it had to be computed in parts and is done."""
        try:
            self.backend.submit(slot)
        except OutOfMemory as exc:
            self._in_parts(slot, exc)
            return True
        return False

    def _claim_cores(self) -> None:
        if self._sharing and self.busy > _MUCH * sum(sum(clock) for each in self._sharing for clock in each.clocks):
            for each in self._sharing:
                each.give_way()
            self._sharing = ()

    def _wait(self, slot: Slot) -> None:
        try:
            self.backend.wait(slot)
        except OutOfMemory as exc:
            self._in_parts(slot, exc)

    def _in_parts(self, slot: Slot, reason: OutOfMemory) -> None:
        """Compute a batch that there was no memory for in smaller ones, down to tiles of one image."""
        if slot.count > 1:
            half = slot.count // 2
            self.batch.limit(half)
            for start in range(0, slot.count, half):
                rows = slice(start, min(start + half, slot.count))
                part = self.backend.slots(1, rows.stop - rows.start, slot.size)[0]
                self._part(part, [array[rows] for array in slot.inputs])
                slot.output[rows] = part.output[: part.count]
        else:
            self._in_tiles(slot, reason)

    def _part(self, part: Slot, inputs: list[np.ndarray]) -> None:
        part.count = len(inputs[0])
        for rows, values in zip(part.inputs, inputs, strict=True):
            rows[: part.count] = values
        if not self._submit(part):
            self._wait(part)

    def _in_tiles(self, slot: Slot, reason: OutOfMemory) -> None:
        height, width = slot.size
        fitting = self._fitting
        fitting.largest = min(fitting.largest, height * width // 2)
        layout = fitting.layout(slot.size) if fitting.can_shrink else None
        if layout is None or layout.how != "tile" or layout.size == slot.size:
            raise Failed(f"{reason} Images of {height}x{width} pixels are too large for {self.backend.device}.")
        spec = self.backend.spec
        blender = TileBlender(layout, slot.size)
        picture, answer = _channels_last(slot.input[0], spec.input), _channels_last(slot.output[0], spec.output)
        part = self._new_slot(layout.size)
        for index in range(len(layout.corners)):
            tile = cut(picture, layout, index)
            self._part(part, [(np.moveaxis(tile, -1, 0) if spec.input.channels_first else tile)[None]])
            whole = blender.add(index, _channels_last(part.output[0], spec.output))
        assert whole is not None
        whole = whole[:height, :width]
        answer[...] = whole if answer.dtype == np.float32 else np.clip(np.rint(whole), 0, 255)

    def stop(self, patience_s: float) -> bool:
        """Finish what is under way and leave what is queued; False when the thread did not end in time."""
        self._stopping = True
        self._queue.put(None)
        return not self._thread.ident or join([self._thread], patience_s)


def _channels_last(row: np.ndarray, image: ImageSpec) -> np.ndarray:
    """A view of a row, channels last."""
    return np.moveaxis(row, 0, -1) if image.channels_first else row
