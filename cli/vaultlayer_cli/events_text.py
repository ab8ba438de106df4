"""One line for people about each kind of log entry."""

from collections.abc import Callable
from typing import Any

from vaultlayer import events as ev
from vaultlayer.job import Outcome
from vaultlayer_cli.units import duration_text, size_text, usd_text

SLOW_S = 5.0
"""From here on a stage of a machine's set-up is worth a word."""

QUIET = frozenset({"create_claimed", "enrolled", "snapshot"})
"""Entries that tell a person nothing while a job runs; `vaultlayer events` shows them too."""

TIERS = {
    "A": "native resume, exact step",
    "B": "ghost replay, exact step",
    "C": "goes on from its own last save",
    "D": "files are kept, and unless it loads them the script starts at zero; see --resume-args",
    "E": "nothing to hold on to: a restart begins at zero",
}


def event_text(event: ev.Event) -> str:
    """Give what happened, without its time; never empty."""
    teller = _TELLERS.get(type(event))
    return teller(event) if teller else ev.kind_of(event).replace("_", " ")


def style_of(event: ev.Event) -> str:
    """Give the colour of the line: green for progress kept, yellow for trouble, red for an end."""
    if isinstance(event, ev.Finished):
        return {"succeeded": "green bold", "failed": "red bold"}.get(event.outcome, "bold")
    if isinstance(event, ev.CheckpointCommitted | ev.Started | ev.Stepped | ev.Cleared):
        return "green"
    trouble = ev.Suspected | ev.Lapsed | ev.Lost | ev.Noticed | ev.DrillRequested | ev.Drilled
    if isinstance(event, trouble | ev.CreateFailed | ev.CheckpointRejected):
        return "yellow"
    return ""


def status_text(code: int, number: int = 0) -> str:
    """Say how a script ended."""
    if number:
        return f"was ended by signal {number}"
    return "ended well" if code == 0 else f"ended with status {code}"


def _at_step(step: int | None) -> str:
    return f" (step {step})" if step is not None else ""


def _steps(steps: int) -> str:
    return "1 step" if steps == 1 else f"{steps} steps"


def _submitted(event: ev.Submitted) -> str:
    return f"submitted: {' '.join(event.spec.command)}"


def _ordered(event: ev.Ordered) -> str:
    offer = event.offer
    parts = [part for part in (offer.region, offer.detail) if part]
    if offer.gpu:
        parts.insert(0, f"{offer.gpu}:{offer.gpu_count or 1}")
    if offer.price_usd_h:
        parts.append(f"{usd_text(offer.price_usd_h)}/h")
    if event.reason:
        parts.append(event.reason)
    return f"attempt {event.attempt} ordered on {event.provider}{_brackets(parts)}"


def _brackets(parts: list[str]) -> str:
    return f" ({', '.join(parts)})" if parts else ""


def _create_claimed(event: ev.CreateClaimed) -> str:
    return f"attempt {event.attempt}: a pool asks the provider for a machine"


def _created(event: ev.Created) -> str:
    verb = "adopted" if event.adopted else "has a machine"
    price = f", {usd_text(event.price_usd_h)}/h" if event.price_usd_h else ""
    return f"attempt {event.attempt} {verb}: {event.instance}{price}"


def _create_failed(event: ev.CreateFailed) -> str:
    return f"attempt {event.attempt} got no machine: {event.reason or event.code}"


def _enrolled(event: ev.Enrolled) -> str:
    version = f" (agent {event.agent_version})" if event.agent_version else ""
    return f"attempt {event.attempt} showed its key{version}"


def _ready(event: ev.Ready) -> str:
    total = sum(event.boot_s.values())
    took = f" after {duration_text(total)} of set-up{_slowest(event.boot_s)}" if total else ""
    held = ", newest checkpoint at hand" if event.prefetched else ""
    return f"attempt {event.attempt} is ready{took}{held}"


def _slowest(boot_s: dict[str, float]) -> str:
    """Name the stage that took most of a set-up worth naming."""
    stage, took_s = max(boot_s.items(), key=lambda pair: pair[1])
    if len(boot_s) < 2 or took_s < SLOW_S:
        return ""
    return f" ({stage.replace('_', ' ')} {duration_text(took_s)})"


def _takeover(event: ev.Takeover) -> str:
    if not event.resume_from:
        return f"attempt {event.attempt} takes over, from the beginning"
    return (
        f"attempt {event.attempt} takes over from checkpoint "
        f"{event.resume_from[:8]}{_at_step(event.resume_step)}"
    )


def _started(event: ev.Started) -> str:
    again = f", {_steps(event.again_steps)} run again" if event.again_steps else ""
    if not event.resumed_from:
        return f"attempt {event.attempt} started the script{again}"
    return (
        f"attempt {event.attempt} started the script again{_at_step(event.resumed_step)}, "
        f"restored in {duration_text(event.restore_s)}{again}"
    )


def _stepped(event: ev.Stepped) -> str:
    return f"attempt {event.attempt} made its first step: {event.step}"


def _tier_found(event: ev.TierFound) -> str:
    meaning = event.detail or TIERS.get(event.tier, "")
    return f"resume tier {event.tier}{': ' + meaning if meaning else ''}"


def _committed(event: ev.CheckpointCommitted) -> str:
    step = f"step {event.step}, " if event.step is not None else ""
    final = ", the last one" if event.final else ""
    return (
        f"checkpoint {event.attempt}.{event.seq} committed "
        f"({step}{size_text(event.new_b)} new of {size_text(event.size_b)}{final})"
    )


def _rejected(event: ev.CheckpointRejected) -> str:
    return f"checkpoint {event.manifest[:8]} is damaged and out of the chain: {event.reason}"


def _silent(silent_s: float) -> str:
    return f" after {duration_text(silent_s)} of silence" if silent_s else ""


def _suspected(event: ev.Suspected) -> str:
    if event.evidence.startswith("silent"):
        return f"attempt {event.attempt} is suspect: {event.evidence}"
    return f"attempt {event.attempt} is suspect{_silent(event.silent_s)}: {event.evidence}"


def _cleared(event: ev.Cleared) -> str:
    return f"attempt {event.attempt} beats again: a false alarm"


def _lapsed(event: ev.Lapsed) -> str:
    return f"the lease of attempt {event.attempt} has ended{_silent(event.silent_s)}"


def _noticed(event: ev.Noticed) -> str:
    source = f" ({event.source})" if event.source else ""
    return f"attempt {event.attempt} will be taken in {duration_text(event.grace_s)}{source}"


def _lost(event: ev.Lost) -> str:
    after = f" after {duration_text(event.silent_s)}" if event.silent_s else ""
    at = f", last seen at step {event.last_step}" if event.last_step is not None else ""
    evidence = "its lease has ended" if event.evidence == "lease" else event.evidence
    return f"heartbeat of attempt {event.attempt} lost{after}: {evidence}{at}"


def _released(event: ev.Released) -> str:
    return f"attempt {event.attempt} let go: {event.reason}"


def _exited(event: ev.Exited) -> str:
    how = status_text(event.exit_code, event.signal)
    detail = f": {event.detail}" if event.detail else ""
    return f"attempt {event.attempt}: the script {how}{_at_step(event.last_step)}{detail}"


def _cancel_requested(event: ev.CancelRequested) -> str:
    return f"cancel asked for{' by ' + event.by if event.by else ''}"


def _drill_requested(event: ev.DrillRequested) -> str:
    grace = f" with {duration_text(event.grace_s)} of grace" if event.verb == "preempt" else ""
    return f"drill: {event.verb} attempt {event.attempt}{grace}"


def _drilled(event: ev.Drilled) -> str:
    detail = f": {event.detail}" if event.detail else ""
    return f"drill done: {event.verb} on attempt {event.attempt}{detail}"


def _fenced(event: ev.Fenced) -> str:
    return f"attempt {event.attempt} fenced: keys revoked, machine told to end"


def _gone(event: ev.Gone) -> str:
    bill = f", billed {duration_text(event.billed_s)}" if event.billed_s else ""
    cost = f", {usd_text(event.cost_usd)}" if event.cost_usd else ""
    return f"machine of attempt {event.attempt} is gone{bill}{cost}"


def _finished(event: ev.Finished) -> str:
    reason = f": {event.reason}" if event.reason else ""
    status = f" (exit status {event.exit_code})" if event.outcome == Outcome.FAILED.value else ""
    return f"job {event.outcome}{reason}{status}"


def _closed(_event: ev.Closed) -> str:
    return "job closed: nothing of it is left but its bucket and this log"


def _snapshot(event: ev.Snapshot) -> str:
    return f"snapshot of the log up to entry {event.through}"


_TELLERS: dict[type[ev.Event], Callable[[Any], str]] = {
    ev.Submitted: _submitted,
    ev.Ordered: _ordered,
    ev.CreateClaimed: _create_claimed,
    ev.Created: _created,
    ev.CreateFailed: _create_failed,
    ev.Enrolled: _enrolled,
    ev.Ready: _ready,
    ev.Takeover: _takeover,
    ev.Started: _started,
    ev.Stepped: _stepped,
    ev.TierFound: _tier_found,
    ev.CheckpointCommitted: _committed,
    ev.CheckpointRejected: _rejected,
    ev.Suspected: _suspected,
    ev.Cleared: _cleared,
    ev.Lapsed: _lapsed,
    ev.Noticed: _noticed,
    ev.Lost: _lost,
    ev.Released: _released,
    ev.Exited: _exited,
    ev.CancelRequested: _cancel_requested,
    ev.DrillRequested: _drill_requested,
    ev.Drilled: _drilled,
    ev.Fenced: _fenced,
    ev.Gone: _gone,
    ev.Finished: _finished,
    ev.Closed: _closed,
    ev.Snapshot: _snapshot,
}
assert set(_TELLERS) == set(ev.EVENT_TYPES.values())
