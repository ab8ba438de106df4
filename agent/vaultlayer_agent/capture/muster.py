"""Musters the ranks of a job for one ghost snapshot: it counts only when all took it, at the same step. Pure.

Each rank says that it begins, waits until the files are put aside, and later that its snapshot is proved
(`end`) or not (`void`). Messages of an older snapshot, or of a process that is not expected, change nothing.
"""

from enum import StrEnum

import msgspec

replace = msgspec.structs.replace


class Act(StrEnum):
    """What follows from a message."""

    NOTHING = "nothing"
    TAKE = "take"
    """All ranks stand still: put the files aside, then let them go on."""
    PUBLISH = "publish"
    """All ranks have proved it."""
    DROP = "drop"
    """It will never be whole: drop what was put aside, and let go on whoever waits."""


class Muster(msgspec.Struct, frozen=True, kw_only=True):
    """One snapshot under way; `number` 0: none.

    `begun` and `ended` hold process ids.
    """

    world: int = 1
    number: int = 0
    step: int = 0
    begun: frozenset[int] = frozenset()
    ended: frozenset[int] = frozenset()


IDLE = Muster()


def begin(muster: Muster, pid: int, number: int, step: int, world: int) -> tuple[Muster, Act]:
    """A rank stands at a boundary and waits."""
    fresh = Muster(world=max(1, world), number=number, step=step, begun=frozenset({pid}))
    if not muster.number or pid in muster.begun:
        # The same rank begins anew: what came of the one before will never be told.
        muster, started_over = fresh, bool(muster.number)
    elif (muster.number, muster.step, muster.world) != (number, step, fresh.world):
        return IDLE, Act.DROP
    else:
        muster, started_over = replace(muster, begun=muster.begun | {pid}), False
    if len(muster.begun) == muster.world:
        return muster, Act.TAKE
    return muster, Act.DROP if started_over else Act.NOTHING


def end(muster: Muster, pid: int, number: int) -> tuple[Muster, Act]:
    """A rank's snapshot is on its disk and proved."""
    if number != muster.number or pid not in muster.begun:
        return muster, Act.NOTHING
    muster = replace(muster, ended=muster.ended | {pid})
    if len(muster.ended) < muster.world:
        return muster, Act.NOTHING
    return replace(IDLE, world=muster.world), Act.PUBLISH


def void(muster: Muster, pid: int, number: int) -> tuple[Muster, Act]:
    """A rank's snapshot came to nothing, and so the others' with it; `number` 0: the process is gone."""
    if pid not in muster.begun or (number and number != muster.number):
        return muster, Act.NOTHING
    return replace(IDLE, world=muster.world), Act.DROP
