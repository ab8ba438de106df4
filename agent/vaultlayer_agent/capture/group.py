"""Saves of single files that follow one another closely, and so make one checkpoint together. Pure.

A script that writes `model.pt` and then `optim.pt` is in between for a moment: a cut made at the end of the
first save would pair new weights with old moments. So a cut is held until `GAP_S` have passed without
another save, or until a file of the group is saved again, which shows that the group was whole.
"""

from typing import Generic, TypeVar

GAP_S = 1.0
GROUP_MOST_S = 30.0

T = TypeVar("T")


class Group(Generic[T]):
    """The saves since the last pause, and what is held for them."""

    def __init__(self) -> None:
        self._paths: set[str] = set()
        self._begun_s = 0.0
        self._ended_s = float("-inf")
        self._held: T | None = None

    def begin(self, path: str, now_s: float) -> bool:
        """Note that a save begins; tell whether what is held is a whole group of its own."""
        paused = now_s - self._ended_s >= GAP_S
        whole = paused or path in self._paths or now_s - self._begun_s > GROUP_MOST_S
        if whole:
            self._paths = set()
            self._begun_s = now_s
        self._paths.add(path)
        self._ended_s = now_s
        return whole

    def end(self, now_s: float) -> None:
        """Note that a save has ended."""
        self._ended_s = now_s

    def hold(self, held: T) -> T | None:
        """Hold what was made at the end of a save; give what was held before."""
        before, self._held = self._held, held
        return before

    def take(self) -> T | None:
        """Give what is held, and hold it no more."""
        held, self._held = self._held, None
        return held

    def left_s(self, now_s: float) -> float | None:
        """Give how long what is held must still wait, None when nothing is held."""
        return None if self._held is None else max(self._ended_s + GAP_S - now_s, 0.0)

    def is_saving(self, now_s: float) -> bool:
        """Whether another save of the group may follow."""
        return self._held is not None or now_s - self._ended_s < GAP_S
