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
from vaultlayer.messages import Grant, TakeoverOrder

replace = msgspec.structs.replace

STOP_GRACE_S = 10.0
"""Between SIGTERM and SIGKILL in an orderly stop."""

SALVAGE_S = 120.0
"""How long an orphan may try to save what it has."""


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


# What happens -------------------------------------------------------------------------------------


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that the shell tells the machine."""


class Tick(Happening, frozen=True, kw_only=True):
    """Time has passed."""


class Enrolled(Happening, frozen=True, kw_only=True):
    """The machine has its own bus credential."""


class Briefed(Happening, frozen=True, kw_only=True):
    """The job is known."""

    strict: bool = False


class Granted(Happening, frozen=True, kw_only=True):
    """A beat was answered; `sent_s` is when it was sent."""

    sent_s: float
    grant: Grant


class Prepared(Happening, frozen=True, kw_only=True):
    """Code and newest checkpoint are on this machine."""


class PrepareFailed(Happening, frozen=True, kw_only=True):
    """What the script needs cannot be had, and trying again would not help."""

    exit_code: int
    detail: str


class TakeoverOrdered(Happening, frozen=True, kw_only=True):
    """The log names this attempt the active one; heard by reply, control message or grant."""

    order: TakeoverOrder


class Placed(Happening, frozen=True, kw_only=True):
    """The files stand where the script expects them."""


class ScriptStarted(Happening, frozen=True, kw_only=True):
    """The script's process exists."""


class ScriptEnded(Happening, frozen=True, kw_only=True):
    """The script's process is over."""


class Finalised(Happening, frozen=True, kw_only=True):
    """The last checkpoint is committed, or there was nothing to commit."""


class ExitAnswered(Happening, frozen=True, kw_only=True):
    """The broker has the exit in its log."""


class Salvaged(Happening, frozen=True, kw_only=True):
    """The orphan's last upload is over, well or not."""


class FencedOff(Happening, frozen=True, kw_only=True):
    """Told to stop for ever, or our credentials are refused."""

    reason: str


class Refused(Happening, frozen=True, kw_only=True):
    """The broker refuses something without which there is no going on."""

    reason: str


class StopAsked(Happening, frozen=True, kw_only=True):
    """A person wants the job to end."""

    reason: str = ""


class Noticed(Happening, frozen=True, kw_only=True):
    """The provider will take the machine."""

    grace_s: float
    source: str
    ends_idle: bool = False
    """Without a script there is nothing to save: leave at once."""


# What is to be done -------------------------------------------------------------------------------


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """Base of everything that the shell has to do."""


class Prepare(Effect, frozen=True, kw_only=True):
    """Ask what to run, and fetch it."""


class SendReady(Effect, frozen=True, kw_only=True):
    """Report readiness until answered."""


class Place(Effect, frozen=True, kw_only=True):
    """Fetch what is newer than what was prefetched and put all files in place."""

    order: TakeoverOrder


class StartScript(Effect, frozen=True, kw_only=True):
    """Start the command."""


class PauseScript(Effect, frozen=True, kw_only=True):
    """Stop the process group where it stands."""


class ResumeScript(Effect, frozen=True, kw_only=True):
    """Let the process group go on."""


class StopScript(Effect, frozen=True, kw_only=True):
    """SIGTERM, wait, SIGKILL."""

    grace_s: float = STOP_GRACE_S


class KillScript(Effect, frozen=True, kw_only=True):
    """SIGKILL the whole tree, now."""


class SendNotice(Effect, frozen=True, kw_only=True):
    """Tell the broker, and the hooks inside the script."""

    grace_s: float
    source: str


class Finalise(Effect, frozen=True, kw_only=True):
    """Capture, upload and commit what the script left."""


class SendExit(Effect, frozen=True, kw_only=True):
    """Flush the output and report the exit. `exit_code` None: as the script ended."""

    exit_code: int | None = None
    signal: int = 0
    detail: str = ""


class Salvage(Effect, frozen=True, kw_only=True):
    """Upload what is complete to our own prefix, for at most so long."""

    limit_s: float = SALVAGE_S


class Leave(Effect, frozen=True, kw_only=True):
    """End the agent's process; the last effect there is."""

    status: int
    reason: str = ""


Step = tuple[State, tuple[Effect, ...]]


def step(state: State, event: Happening, now_s: float) -> Step:
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
    if silent_s(state, now_s) >= state.orphan_s:
        return _orphaned(state)
    if not (state.strict and state.has_script) or state.is_stopping:
        return state, ()
    held = state.lease.is_held(now_s)
    if held and state.is_paused:
        return replace(state, is_paused=False), (ResumeScript(),)
    if not held and not state.is_paused:
        return replace(state, is_paused=True), (PauseScript(),)
    return state, ()


def _orphaned(state: State) -> Step:
    reason = f"no grant for {state.orphan_s:g} s"
    if state.has_script:
        state = replace(state, is_orphan=True, stage=Stage.EXITING, reason=reason)
        return state, (Salvage(),)
    return _leave(replace(state, is_orphan=True), Status.ORPHANED, reason)


def _leave(state: State, status: int, reason: str) -> Step:
    """Kill whatever runs, then go; there is no state after this one."""
    state = replace(state, stage=Stage.DONE, has_script=False, status=status, reason=reason)
    return state, (KillScript(), Leave(status=status, reason=reason))


def _enrolled(state: State, _event: Happening, _now_s: float) -> Step:
    if state.stage is not Stage.ENROLLING:
        return state, ()
    return replace(state, stage=Stage.PREPARING), (Prepare(),)


def _briefed(state: State, event: Briefed, _now_s: float) -> Step:
    return replace(state, strict=event.strict), ()


def _granted(state: State, event: Granted, now_s: float) -> Step:
    grant = event.grant
    if grant.fenced or grant.active > state.attempt:
        why = f"attempt {grant.active} is the active one" if grant.active else "the lease says so"
        return _leave(state, Status.FENCED, why)
    lease = state.lease.granted(event.sent_s, grant.lease_s)
    state = replace(state, lease=lease, orphan_s=grant.orphan_s)
    effects: tuple[Effect, ...] = ()
    if grant.takeover is not None:
        state, effects = _ordered(state, TakeoverOrdered(order=grant.takeover), now_s)
    if grant.stop:
        state, more = _stop(state, StopAsked(reason="the broker asks for it"), now_s)
        effects = (*effects, *more)
    return state, effects


def _prepared(state: State, _event: Happening, _now_s: float) -> Step:
    if state.stage is not Stage.PREPARING:
        return state, ()
    if state.order is not None:
        return replace(state, stage=Stage.RESTORING), (Place(order=state.order),)
    return replace(state, stage=Stage.READY), (SendReady(),)


def _prepare_failed(state: State, event: PrepareFailed, _now_s: float) -> Step:
    """Only the active attempt may end the job by its exit; a standby makes room for another machine."""
    if state.stage is Stage.EXITING:
        return state, ()
    if state.order is None:
        return _leave(state, Status.REFUSED, event.detail)
    state = replace(state, stage=Stage.EXITING, reason=event.detail)
    return state, (SendExit(exit_code=event.exit_code, detail=event.detail),)


def _ordered(state: State, event: TakeoverOrdered, _now_s: float) -> Step:
    """Obey the first order; the same one comes by three ways, and again after a lost reply."""
    if event.order.attempt != state.attempt or state.order is not None:
        return state, ()
    state = replace(state, order=event.order)
    if state.stage is not Stage.READY:
        return state, ()
    return replace(state, stage=Stage.RESTORING), (Place(order=event.order),)


def _placed(state: State, _event: Happening, _now_s: float) -> Step:
    if state.stage is not Stage.RESTORING:
        return state, ()
    return replace(state, stage=Stage.ACTIVE), (StartScript(),)


def _script_started(state: State, _event: Happening, _now_s: float) -> Step:
    state = replace(state, has_script=True)
    return (state, (StopScript(),)) if state.is_stopping else (state, ())


def _script_ended(state: State, _event: Happening, _now_s: float) -> Step:
    state = replace(state, has_script=False, is_paused=False)
    if state.is_orphan or state.stage is not Stage.ACTIVE:
        return state, ()
    return replace(state, stage=Stage.EXITING), (Finalise(),)


def _finalised(state: State, _event: Happening, _now_s: float) -> Step:
    return (state, (SendExit(),)) if state.stage is Stage.EXITING else (state, ())


def _exit_answered(state: State, _event: Happening, _now_s: float) -> Step:
    if state.stage is not Stage.EXITING:
        return state, ()
    return _leave(state, Status.STOPPED if state.is_stopping else Status.OK, state.reason)


def _salvaged(state: State, _event: Happening, _now_s: float) -> Step:
    return _leave(state, Status.ORPHANED, state.reason) if state.is_orphan else (state, ())


def _fenced(state: State, event: FencedOff, _now_s: float) -> Step:
    return _leave(state, Status.FENCED, event.reason)


def _refused(state: State, event: Refused, _now_s: float) -> Step:
    return _leave(state, Status.REFUSED, event.reason)


def _stop(state: State, event: StopAsked, _now_s: float) -> Step:
    if state.is_stopping or state.is_orphan or state.stage is Stage.EXITING:
        return state, ()
    state = replace(state, is_stopping=True, reason=event.reason)
    if state.has_script:
        return replace(state, is_paused=False), (StopScript(),)
    if state.stage is Stage.ACTIVE:
        return state, ()  # the process is just being made; `ScriptStarted` stops it
    if state.order is None:
        return _leave(state, Status.STOPPED, event.reason)
    state = replace(state, stage=Stage.EXITING)
    return state, (SendExit(exit_code=143, signal=15, detail="stopped before the script began"),)


def _noticed(state: State, event: Noticed, now_s: float) -> Step:
    """Report the first notice, and a later one only when it shortens the time."""
    until_s = now_s + event.grace_s
    if event.ends_idle and not state.has_script and state.stage is not Stage.EXITING:
        state = replace(state, noticed_until_s=until_s)
        state, effects = _leave(state, Status.NOTICED, f"notice from {event.source}")
        return state, (SendNotice(grace_s=event.grace_s, source=event.source), *effects)
    if state.noticed_until_s and until_s >= state.noticed_until_s - 1.0:
        return state, ()
    state = replace(state, noticed_until_s=until_s)
    return state, (SendNotice(grace_s=event.grace_s, source=event.source),)


_RULES: dict[type[Happening], Callable[[State, Any, float], Step]] = {
    Enrolled: _enrolled,
    Briefed: _briefed,
    Granted: _granted,
    Prepared: _prepared,
    PrepareFailed: _prepare_failed,
    TakeoverOrdered: _ordered,
    Placed: _placed,
    ScriptStarted: _script_started,
    ScriptEnded: _script_ended,
    Finalised: _finalised,
    ExitAnswered: _exit_answered,
    Salvaged: _salvaged,
    FencedOff: _fenced,
    Refused: _refused,
    StopAsked: _stop,
    Noticed: _noticed,
}
