"""How many images are computed at once: found out on the work itself."""

from __future__ import annotations

MOST = 32  # images in a batch, where nobody says how many
_TRIED = 8  # batch sizes up to this are all tried
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
