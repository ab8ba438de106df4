"""When the next ghost snapshot is asked for. Pure.

The interval is Young's, sqrt(2·stall·M), with the stall as it was measured and M the mean time between
interruptions; but no snapshot is asked for while the one before it may still be on its way to the bucket.
"""

import math

import msgspec

from vaultlayer.every import Every
from vaultlayer_agent.capture.snapshots import Taken

replace = msgspec.structs.replace

LEAST_S = 30.0
MOST_S = 1800.0
UPLOADS = 1.2
"""So many upload times must lie between two snapshots."""

FIRST_S = 20.0
"""After the script begins to record: early enough to know soon that it works."""

AGAIN_S = 30.0
"""After a snapshot that came to nothing."""

BETWEEN_S = 2 * 3600.0
"""Mean time between interruptions where none is known."""

AHEAD_S = 1.0
AHEAD_STEPS = 3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What is known; times by one clock, in seconds.

    `due_s` None: nothing is to be asked for. `stall_s` and `upload_s` are those of the newest snapshot.
    `rate` is steps a second.
    """

    every: Every = Every()
    between_s: float = BETWEEN_S
    due_s: float | None = None
    begun_s: float = 0.0
    stall_s: float = 0.0
    upload_s: float = 0.0
    step: int = 0
    step_s: float = 0.0
    rate: float = 0.0


def interval_s(pace: Pace) -> float:
    """Give the seconds from one snapshot to the next."""
    if pace.every.seconds:
        return pace.every.seconds
    young_s = math.sqrt(2 * pace.stall_s * pace.between_s)
    return min(max(young_s, UPLOADS * pace.upload_s, LEAST_S), MOST_S)


def at_risk_s(pace: Pace) -> float:
    """Give how many seconds of work can be lost at most: an interval, and the upload after it."""
    return interval_s(pace) + pace.upload_s


def risk_words(pace: Pace) -> str:
    """Say what can be lost at most, in whole units a person would use; "" when nobody asks for snapshots."""
    if pace.every.is_off:
        return ""
    if pace.every.steps:
        return f"{pace.every.steps} steps"
    minutes = at_risk_s(pace) / 60
    return f"{max(10, round(minutes * 6) * 10)} s" if minutes < 2 else f"{round(minutes)} min"


def recording(pace: Pace, now_s: float) -> Pace:
    """The script records from now on; steps chosen by the user are counted by the hook itself."""
    if pace.every.is_off or pace.every.steps:
        return pace
    return replace(pace, due_s=now_s + min(FIRST_S, pace.every.seconds or FIRST_S))


def stopped(pace: Pace) -> Pace:
    """Nothing is recorded any more."""
    return replace(pace, due_s=None)


def asked(pace: Pace, now_s: float) -> Pace:
    """A snapshot was asked for; if nothing comes of it, it is asked for again."""
    return replace(pace, due_s=now_s + interval_s(pace), begun_s=now_s)


def took(pace: Pace, taken: Taken, now_s: float) -> Pace:
    """A snapshot was proved."""
    pace = replace(pace, stall_s=taken.stall_s)
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=max(now_s, pace.begun_s + interval_s(pace)))


def came_to_nothing(pace: Pace, now_s: float) -> Pace:
    """A snapshot was void."""
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=now_s + min(interval_s(pace), AGAIN_S))


def uploaded(pace: Pace, upload_s: float, now_s: float) -> Pace:
    """A snapshot is in the bucket."""
    pace = replace(pace, upload_s=upload_s)
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=max(now_s, pace.begun_s + interval_s(pace)))


def stepped(pace: Pace, step: int, now_s: float) -> Pace:
    """A hook told its step."""
    if step <= pace.step:
        return pace
    rate = (step - pace.step) / (now_s - pace.step_s) if pace.step and now_s > pace.step_s else 0.0
    return replace(pace, step=step, step_s=now_s, rate=rate or pace.rate)


def is_due(pace: Pace, now_s: float) -> bool:
    """Whether a snapshot is to be asked for now."""
    return pace.due_s is not None and now_s >= pace.due_s


def common_step(pace: Pace) -> int:
    """Give a step that no rank has passed yet when it hears of it."""
    return pace.step + AHEAD_STEPS + math.ceil(pace.rate * AHEAD_S)
