"""The life of one attempt as a pure state machine: what happened goes in, what is to be done comes out.

```text
enrolling ─► preparing ─► ready ─► restoring ─► active ─► exiting ─► done
     └───────────┴──────────┴──────────┴──────────┴── fenced, stopped, orphaned ──► done
```

Every rule that protects the lineage on this side stands here: an attempt that is fenced kills its script and
leaves; one whose lease has lapsed commits nothing until it is granted again; one that hears of nobody for
`orphan_s` saves what it can and ends itself. Times are the machine's boot-time clock, which nobody else
needs to agree with.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from vaultlayer.lease import AgentLease, LeaseTerms
from vaultlayer.messages import TakeoverOrder
from vaultlayer_agent import effects as ef
from vaultlayer_agent import happenings as hp

replace = msgspec.structs.replace


class Stage(StrEnum):
    """Where the attempt is; it only moves downwards in this list."""

    ENROLLING = "enrolling"
    PREPARING = "preparing"
    READY = "ready"
    RESTORING = "restoring"
    ACTIVE = "active"
    EXITING = "exiting"
    DONE = "done"


class Status:
    """Exit statuses of the agent itself; a script's own status travels in the exit report."""

    OK = 0
    FENCED = 40
    ORPHANED = 41
    STOPPED = 42
    REFUSED = 43
    NOTICED = 44


class State(msgspec.Struct, frozen=True, kw_only=True):
    """All that the rules need to know."""

    attempt: int
    born_s: float
    """When the agent started: silence is counted from here before the first grant."""
    strict: bool = False
    stage: Stage = Stage.ENROLLING
    lease: AgentLease = AgentLease()
    failed_s: float = 0.0
    """When the newest beat was sent that nobody answered."""
    orphan_s: float = LeaseTerms().orphan_s
    order: TakeoverOrder | None = None
    has_script: bool = False
    """The script was started and has not ended."""
    is_paused: bool = False
    is_stopping: bool = False
    is_orphan: bool = False
    noticed_until_s: float = 0.0
    status: int = Status.OK
    reason: str = ""


def may_commit(state: State, now_s: float) -> bool:
    """Whether a commit may be sent now: the active attempt with its lease."""
    return (
        state.stage in {Stage.ACTIVE, Stage.EXITING}
        and state.order is not None
        and not state.is_orphan
        and state.lease.is_held(now_s)
    )


def silent_s(state: State, now_s: float) -> float:
    """Give the seconds since the last beat that was granted, or since the start."""
    return now_s - max(state.lease.last_grant_s, state.born_s)


Step = tuple[State, tuple[ef.Effect, ...]]


def step(state: State, event: hp.Happening, now_s: float) -> Step:
    """Give the next state and what is to be done, in order.

    Args:
        state: the state so far; in `done` nothing has an effect any more.
        event: what happened; a type that is not known here only lets time pass.
        now_s: the boot-time clock.
    """
    if state.stage is Stage.DONE:
        return state, ()
    rule = _RULES.get(type(event))
    state, effects = rule(state, event, now_s) if rule else (state, ())
    state, more = _time(state, now_s)
    return state, (*effects, *more)


def _time(state: State, now_s: float) -> Step:
    """Apply what follows from the clock alone: the orphan's end and the strict pause."""
    if state.stage is Stage.DONE or state.is_orphan:
        return state, ()
    if silent_s(state, now_s) >= state.orphan_s and _has_asked_in_vain(state):
        return _orphaned(state)
    if not (state.strict and state.has_script) or state.is_stopping:
        return state, ()
    held = state.lease.is_held(now_s)
    if held and state.is_paused:
        return replace(state, is_paused=False), (ef.ResumeScript(),)
    if not held and not state.is_paused:
        return replace(state, is_paused=True), (ef.PauseScript(),)
    return state, ()


def _has_asked_in_vain(state: State) -> bool:
    """Whether a beat sent after the time was up went unanswered too.

    A machine that slept, or was frozen, wakes with its time long up; its broker may be there all the same.
    """
    up_s = max(state.lease.last_grant_s, state.born_s) + state.orphan_s
    return not state.has_script or state.failed_s >= up_s


def _orphaned(state: State) -> Step:
    reason = f"no grant for {state.orphan_s:g} s"
    if state.has_script:
        state = replace(state, is_orphan=True, stage=Stage.EXITING, reason=reason)
        return state, (ef.Salvage(),)
    return _leave(replace(state, is_orphan=True), Status.ORPHANED, reason)


def _leave(state: State, status: int, reason: str) -> Step:
    """Kill whatever runs, then go; there is no state after this one."""
    state = replace(state, stage=Stage.DONE, has_script=False, status=status, reason=reason)
    return state, (ef.KillScript(), ef.Leave(status=status, reason=reason))


def _enrolled(state: State, _event: hp.Happening, _now_s: float) -> Step:
    if state.stage is not Stage.ENROLLING:
        return state, ()
    return replace(state, stage=Stage.PREPARING), (ef.Prepare(),)


def _briefed(state: State, event: hp.Briefed, _now_s: float) -> Step:
    return replace(state, strict=event.strict), ()


def _granted(state: State, event: hp.Granted, now_s: float) -> Step:
    grant = event.grant
    if grant.fenced or grant.active > state.attempt:
        why = f"attempt {grant.active} is the active one" if grant.active else "the lease says so"
        return _leave(state, Status.FENCED, why)
    lease = state.lease.granted(event.sent_s, grant.lease_s)
    state = replace(state, lease=lease, orphan_s=grant.orphan_s)
    effects: tuple[ef.Effect, ...] = ()
    if grant.takeover is not None:
        state, effects = _ordered(state, hp.TakeoverOrdered(order=grant.takeover), now_s)
    if grant.stop:
        state, more = _stop(state, hp.StopAsked(reason="the broker asks for it"), now_s)
        effects = (*effects, *more)
    return state, effects


def _beat_failed(state: State, event: hp.BeatFailed, _now_s: float) -> Step:
    return replace(state, failed_s=max(state.failed_s, event.sent_s)), ()


def _prepared(state: State, _event: hp.Happening, _now_s: float) -> Step:
    if state.stage is not Stage.PREPARING:
        return state, ()
    if state.order is not None:
        return replace(state, stage=Stage.RESTORING), (ef.Place(order=state.order),)
    return replace(state, stage=Stage.READY), (ef.SendReady(),)


def _prepare_failed(state: State, event: hp.PrepareFailed, _now_s: float) -> Step:
    """Only the active attempt may end the job by its exit; a standby makes room for another machine."""
    if state.stage is Stage.EXITING:
        return state, ()
    if state.order is None:
        return _leave(state, Status.REFUSED, event.detail)
    state = replace(state, stage=Stage.EXITING, reason=event.detail)
    return state, (ef.SendExit(exit_code=event.exit_code, detail=event.detail),)


def _ordered(state: State, event: hp.TakeoverOrdered, _now_s: float) -> Step:
    """Obey the first order; the same one comes by three ways, and again after a lost reply."""
    if event.order.attempt != state.attempt or state.order is not None:
        return state, ()
    state = replace(state, order=event.order)
    if state.stage is not Stage.READY:
        return state, ()
    return replace(state, stage=Stage.RESTORING), (ef.Place(order=event.order),)


def _placed(state: State, _event: hp.Happening, _now_s: float) -> Step:
    if state.stage is not Stage.RESTORING:
        return state, ()
    return replace(state, stage=Stage.ACTIVE), (ef.StartScript(),)


def _script_started(state: State, _event: hp.Happening, _now_s: float) -> Step:
    state = replace(state, has_script=True)
    return (state, (ef.StopScript(),)) if state.is_stopping else (state, ())


def _script_ended(state: State, _event: hp.Happening, _now_s: float) -> Step:
    state = replace(state, has_script=False, is_paused=False)
    if state.is_orphan or state.stage is not Stage.ACTIVE:
        return state, ()
    return replace(state, stage=Stage.EXITING), (ef.Finalise(),)


def _finalised(state: State, _event: hp.Happening, _now_s: float) -> Step:
    return (state, (ef.SendExit(),)) if state.stage is Stage.EXITING else (state, ())


def _exit_answered(state: State, _event: hp.Happening, _now_s: float) -> Step:
    if state.stage is not Stage.EXITING:
        return state, ()
    return _leave(state, Status.STOPPED if state.is_stopping else Status.OK, state.reason)


def _salvaged(state: State, _event: hp.Happening, _now_s: float) -> Step:
    return _leave(state, Status.ORPHANED, state.reason) if state.is_orphan else (state, ())


def _fenced(state: State, event: hp.FencedOff, _now_s: float) -> Step:
    return _leave(state, Status.FENCED, event.reason)


def _refused(state: State, event: hp.Refused, _now_s: float) -> Step:
    return _leave(state, Status.REFUSED, event.reason)


def _stop(state: State, event: hp.StopAsked, _now_s: float) -> Step:
    if state.is_stopping or state.is_orphan or state.stage is Stage.EXITING:
        return state, ()
    state = replace(state, is_stopping=True, reason=event.reason)
    if state.has_script:
        return replace(state, is_paused=False), (ef.StopScript(),)
    if state.stage is Stage.ACTIVE:
        return state, ()  # the process is just being made; `ScriptStarted` stops it
    if state.order is None:
        return _leave(state, Status.STOPPED, event.reason)
    state = replace(state, stage=Stage.EXITING)
    return state, (ef.SendExit(exit_code=143, signal=15, detail="stopped before the script began"),)


def _noticed(state: State, event: hp.Noticed, now_s: float) -> Step:
    """Report the first notice, and a later one only when it shortens the time."""
    until_s = now_s + event.grace_s
    if event.ends_idle and not state.has_script and state.stage is not Stage.EXITING:
        state = replace(state, noticed_until_s=until_s)
        state, effects = _leave(state, Status.NOTICED, f"notice from {event.source}")
        return state, (ef.SendNotice(grace_s=event.grace_s, source=event.source), *effects)
    if state.noticed_until_s and until_s >= state.noticed_until_s - 1.0:
        return state, ()
    state = replace(state, noticed_until_s=until_s)
    return state, (ef.SendNotice(grace_s=event.grace_s, source=event.source),)


_RULES: dict[type[hp.Happening], Callable[[State, Any, float], Step]] = {
    hp.Enrolled: _enrolled,
    hp.Briefed: _briefed,
    hp.Granted: _granted,
    hp.BeatFailed: _beat_failed,
    hp.Prepared: _prepared,
    hp.PrepareFailed: _prepare_failed,
    hp.TakeoverOrdered: _ordered,
    hp.Placed: _placed,
    hp.ScriptStarted: _script_started,
    hp.ScriptEnded: _script_ended,
    hp.Finalised: _finalised,
    hp.ExitAnswered: _exit_answered,
    hp.Salvaged: _salvaged,
    hp.FencedOff: _fenced,
    hp.Refused: _refused,
    hp.StopAsked: _stop,
    hp.Noticed: _noticed,
}
