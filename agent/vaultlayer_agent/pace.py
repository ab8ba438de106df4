"""When the next ghost snapshot is asked for. Pure.

The interval is Young's, sqrt(2·stall·M), with the stall as it was measured and M the mean time between
interruptions; but no snapshot is asked for while the one before it may still be on its way to the bucket.
Once the machine is about to be taken, one is asked for at once, and again as often as the uplink allows, as
long as it can still arrive.
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

LAST_S = 2.0
"""Between two snapshots of a machine that is about to be taken, at least."""

LAST_STALLS = 10
"""So many stalls must lie between those, for the script is to get on meanwhile."""

AHEAD_S = 1.0
AHEAD_STEPS = 3


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """What is known; times by one clock, in seconds.

    `due_s` None: nothing is to be asked for. `stall_s` and `upload_s` are those of the newest snapshot.
    `rate` is steps a second. `until_s`: when the machine will be taken, as far as it is known; `uplink_b_s`:
    the rate to the bucket that was measured by then, 0 when none was; `state_b`: of the newest snapshot.
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
    until_s: float | None = None
    uplink_b_s: float = 0.0
    state_b: int = 0


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


def noticed(pace: Pace, grace_s: float, uplink_b_s: float, now_s: float) -> Pace:
    """The machine will be taken in `grace_s` seconds: a snapshot is due now, if it can still arrive."""
    if pace.every.is_off:
        return pace
    return replace(pace, until_s=now_s + grace_s, uplink_b_s=uplink_b_s, due_s=now_s)


def way_s(size_b: int, uplink_b_s: float, last_s: float) -> float:
    """Give the seconds to the bucket: by size and rate where both are known, else as the last one."""
    return size_b / uplink_b_s if size_b and uplink_b_s else last_s


def _is_noticed(pace: Pace, now_s: float) -> bool:
    """Whether the machine is about to be taken; one that outlives its time goes on as before."""
    return pace.until_s is not None and now_s < pace.until_s


def _apart_s(pace: Pace, now_s: float) -> float:
    if _is_noticed(pace, now_s):
        return max(LAST_S, UPLOADS * pace.upload_s, LAST_STALLS * pace.stall_s)
    return interval_s(pace)


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
    return replace(pace, due_s=now_s + _apart_s(pace, now_s), begun_s=now_s)


def took(pace: Pace, taken: Taken, now_s: float) -> Pace:
    """A snapshot was proved; the hook may have taken one that nobody had asked for."""
    begun_s = pace.begun_s or now_s
    pace = replace(pace, stall_s=taken.stall_s, state_b=taken.state_b, begun_s=begun_s)
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=max(now_s, pace.begun_s + _apart_s(pace, now_s)))


def came_to_nothing(pace: Pace, now_s: float) -> Pace:
    """A snapshot was void."""
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=now_s + min(_apart_s(pace, now_s), AGAIN_S))


def uploaded(pace: Pace, upload_s: float, now_s: float) -> Pace:
    """A snapshot is in the bucket."""
    pace = replace(pace, upload_s=upload_s)
    if pace.due_s is None:
        return pace
    return replace(pace, due_s=max(now_s, pace.begun_s + _apart_s(pace, now_s)))


def stepped(pace: Pace, step: int, now_s: float) -> Pace:
    """A hook told its step."""
    if step <= pace.step:
        return pace
    rate = (step - pace.step) / (now_s - pace.step_s) if pace.step and now_s > pace.step_s else 0.0
    return replace(pace, step=step, step_s=now_s, rate=rate or pace.rate)


def is_due(pace: Pace, now_s: float) -> bool:
    """Whether a snapshot is to be asked for now."""
    if pace.due_s is None or now_s < pace.due_s:
        return False
    if not _is_noticed(pace, now_s):
        return not pace.every.steps
    left_s = (pace.until_s or 0.0) - now_s
    return left_s > pace.stall_s + way_s(pace.state_b, pace.uplink_b_s, pace.upload_s)


def common_step(pace: Pace) -> int:
    """Give a step that no rank has passed yet when it hears of it."""
    return pace.step + AHEAD_STEPS + math.ceil(pace.rate * AHEAD_S)
