"""Who is silent, for how long, and what follows from it. Pure: receipts and a folded job in, verdicts out.

All times are one watchdog's own monotonic seconds, counted from the *receipt* of a beat. Nothing here is
needed for safety, which lies in the log (`vaultlayer.lifecycle`); a wrong verdict costs a boot, never work.
"""

import hashlib
from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from vaultlayer import events as ev
from vaultlayer.job import AttemptState, Job, Phase
from vaultlayer.lease import LeaseTerms
from vaultlayer.lifecycle import is_current
from vaultlayer.messages import Beat, CheckpointRef, Grant, TakeoverOrder

replace = msgspec.structs.replace

RANKS = 3
"""How many watchdogs judge one slot; the others only grant."""

STAGGER_S = 5.0
"""How much later each rank judges than the one before it."""

PROBE_EVERY_S = 5.0
BOOT_PROBE_EVERY_S = 15.0
"""A machine that boots has not spoken yet; whether it still exists is worth a look now and then."""

BRAKE_SHARE = 0.2
BRAKE_PROVIDERS = 2
BRAKE_AGENTS_MIN = 5
"""Below this many agents a share says nothing."""

BRAKE_BEATS = 2.0
"""Missed beats after which an agent counts as silent for the brake: before any of them is a suspect."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What this watchdog knows of one incarnation of one attempt."""

    incarnation: str
    provider: str = ""
    heard_s: float
    """Receipt of the newest beat, or the moment at which waiting began anew."""
    number: int = 0
    """Of the newest beat; 0: this process never heard one."""
    stage: str = ""
    step: int | None = None
    expected: bool = False
    """Whether it must beat: it has done so, here or (to be ready) anywhere."""
    doubted: bool = False
    """Whether the log called it suspected or lapsed when this watchdog last looked."""
    probed_s: float = float("-inf")


class Kind(StrEnum):
    """What a verdict says."""

    NONE = ""
    SUSPECTED = "suspected"
    CLEARED = "cleared"
    LAPSED = "lapsed"
    LOST = "lost"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be appended, and whether the provider should be asked."""

    kind: Kind = Kind.NONE
    evidence: str = ""
    silent_s: float = 0.0
    last_step: int | None = None
    probe: bool = False


NOTHING = Verdict()


# Receipts -----------------------------------------------------------------------------------------


def heard(seen: Seen | None, attempt: AttemptState, beat: Beat, now_s: float) -> Seen | None:
    """Take in a beat received at `now_s`; None for one that is stale or of another incarnation."""
    if beat.incarnation != attempt.incarnation or beat.number < 1:
        return None
    if seen is None or seen.incarnation != beat.incarnation:
        seen = Seen(incarnation=beat.incarnation, provider=attempt.provider, heard_s=now_s)
    if beat.number <= seen.number:
        return None
    return replace(
        seen,
        heard_s=max(now_s, seen.heard_s),
        number=beat.number,
        expected=True,
        stage=beat.stage,
        step=seen.step if beat.step is None else beat.step,
    )


def granted(job: Job, number: int, beat: Beat, terms: LeaseTerms) -> Grant | None:
    """Answer a beat of attempt `number`; None when the log does not know the attempt.

    An unknown attempt is left unanswered rather than fenced: the log may have lost its tail, and an
    agent without a grant saves its work before it ends itself.
    """
    if number not in job.attempts:
        return None
    fenced = not is_current(job, number, beat.incarnation)
    order = None
    if not fenced and number == job.active and not beat.active:
        order = TakeoverOrder(attempt=number, head=_head(job))
    return Grant(
        number=beat.number,
        lease_s=0.0 if fenced else terms.agent_s,
        beat_s=terms.beat_s,
        orphan_s=terms.orphan_s,
        active=job.active,
        takeover=order,
        fenced=fenced,
        stop=bool(job.cancel_requested_at or job.outcome),
    )


def _head(job: Job) -> CheckpointRef | None:
    head = job.head
    return CheckpointRef(manifest=head.manifest, key=head.key, step=head.step) if head else None


def watched(job: Job, table: Mapping[int, Seen], now_s: float) -> dict[int, Seen]:
    """Bring the watched attempts in line with the log: live ones in, ended ones out.

    An attempt that was not known yet gets a full lease from `now_s`; so does one that another watchdog
    has cleared, because somebody heard it.
    """
    if job.outcome:
        return {}
    return {
        number: _watched(table.get(number), attempt, now_s)
        for number, attempt in job.attempts.items()
        if attempt.is_live
    }


def _watched(seen: Seen | None, attempt: AttemptState, now_s: float) -> Seen:
    doubted = bool(attempt.suspected_at or attempt.lapsed_at)
    if seen is None or seen.incarnation != attempt.incarnation:
        seen = Seen(incarnation=attempt.incarnation, provider=attempt.provider, heard_s=now_s)
    elif seen.doubted and not doubted:
        seen = replace(seen, heard_s=now_s)
    expected = seen.number > 0 or attempt.phase in {Phase.READY, Phase.ACTIVE}
    if expected and not seen.expected:
        # It was not waited for until now, so its lease begins now.
        seen = replace(seen, heard_s=now_s)
    return replace(seen, doubted=doubted, expected=expected)


def renewed(table: Mapping[int, Seen], now_s: float) -> dict[int, Seen]:
    """Give everybody a full lease: it was this watchdog that could not hear."""
    return {number: replace(seen, heard_s=now_s) for number, seen in table.items()}


def stall_s(wanted_s: float, slept_s: float, terms: LeaseTerms) -> float:
    """Give for how long this process stood still, so that beats may lie unread; 0 for hardly."""
    late_s = slept_s - wanted_s
    return late_s if late_s > terms.beat_s / 2 else 0.0


def forgiven(
    table: Mapping[int, Seen], stalled_s: float, now_s: float, terms: LeaseTerms
) -> dict[int, Seen]:
    """Do not count the time for which this process stood still; after a long stall all begins anew.

    Only a long one gives a full lease, so that a machine that stalls again and again still judges.
    """
    if stalled_s >= terms.broker_s:
        return renewed(table, now_s)
    return {
        number: replace(seen, heard_s=min(now_s, seen.heard_s + stalled_s))
        for number, seen in table.items()
    }


# Judgement ----------------------------------------------------------------------------------------


def is_quiet(seen: Seen, now_s: float, terms: LeaseTerms) -> bool:
    """A cheap first look: True when `judge` would find nothing, whatever the log says."""
    return not seen.doubted and now_s - seen.heard_s < terms.suspect_s


def judge(
    attempt: AttemptState,
    seen: Seen,
    *,
    now_s: float,
    terms: LeaseTerms,
    rank: int,
    brake: bool = False,
) -> Verdict:
    """Say what the silence of one attempt means.

    Args:
        attempt: as the log tells it; it may be old, the append looks again.
        seen: what this watchdog heard.
        now_s: monotonic seconds of the same clock as `seen`.
        terms: lease terms.
        rank: of this watchdog in the job's slot, 0 first; `RANKS` and above never judge.
        brake: many are silent together, so that silence alone proves nothing.
    """
    if rank >= RANKS or not attempt.is_live or attempt.incarnation != seen.incarnation:
        return NOTHING
    silent_s = now_s - seen.heard_s
    if silent_s < terms.suspect_s:
        return _clear(attempt, seen)
    due_s = silent_s - rank * STAGGER_S
    if due_s < terms.suspect_s:
        return NOTHING
    probe = bool(attempt.instance) and now_s - seen.probed_s >= _probe_every_s(
        seen, silent_s, terms
    )
    if not seen.expected:
        # The dispatcher's boot deadline judges it; only the provider may know better.
        return Verdict(silent_s=silent_s, probe=probe)
    return replace(
        _silence(attempt, silent_s, due_s, terms, brake=brake),
        silent_s=silent_s,
        last_step=seen.step,
        probe=probe,
    )


def _clear(attempt: AttemptState, seen: Seen) -> Verdict:
    if seen.number and (attempt.suspected_at or attempt.lapsed_at):
        return Verdict(kind=Kind.CLEARED)
    return NOTHING


def _silence(
    attempt: AttemptState, silent_s: float, due_s: float, terms: LeaseTerms, *, brake: bool
) -> Verdict:
    if due_s >= terms.orphan_s + terms.broker_s:
        # By now the machine has ended itself, so the brake, too, has an end.
        return Verdict(kind=Kind.LOST, evidence="orphan")
    if attempt.noticed_until:
        return Verdict(kind=Kind.LOST, evidence="notice")
    if brake:
        return NOTHING
    if due_s >= terms.broker_s:
        if attempt.sole:
            return Verdict(kind=Kind.LOST, evidence="lease")
        if not attempt.lapsed_at:
            return Verdict(kind=Kind.LAPSED)
        return NOTHING
    if attempt.suspected_at or attempt.lapsed_at:
        return NOTHING
    return Verdict(kind=Kind.SUSPECTED, evidence=f"silent for {silent_s:.0f} s")


def _probe_every_s(seen: Seen, silent_s: float, terms: LeaseTerms) -> float:
    """Often while a verdict hangs on it, seldom where nothing was heard yet or all is said."""
    if not seen.number or silent_s > 2 * terms.broker_s:
        return BOOT_PROBE_EVERY_S
    return PROBE_EVERY_S


def vanished(state: str, detail: str, seen: Seen, now_s: float) -> Verdict:
    """The provider says that the machine is gone or dead: lost at once."""
    evidence = f"provider: {state}" + (f" ({detail})" if detail else "")
    return Verdict(
        kind=Kind.LOST, evidence=evidence, silent_s=now_s - seen.heard_s, last_step=seen.step
    )


def entry_of(verdict: Verdict, job: Job | None, number: int, incarnation: str) -> ev.Event | None:
    """Give the entry for a verdict on the newest state; None when it no longer applies."""
    attempt = job.attempts.get(number) if job else None
    if job is None or attempt is None or not is_current(job, number, incarnation):
        return None
    if verdict.kind is Kind.CLEARED and (attempt.suspected_at or attempt.lapsed_at):
        return ev.Cleared(attempt=number)
    if verdict.kind is Kind.SUSPECTED and not (attempt.suspected_at or attempt.lapsed_at):
        return ev.Suspected(attempt=number, evidence=verdict.evidence, silent_s=verdict.silent_s)
    if verdict.kind is Kind.LAPSED and not attempt.lapsed_at:
        return ev.Lapsed(attempt=number, silent_s=verdict.silent_s)
    if verdict.kind is Kind.LOST:
        return ev.Lost(
            attempt=number,
            evidence=verdict.evidence,
            last_step=verdict.last_step,
            silent_s=verdict.silent_s,
        )
    return None


# Many at once -------------------------------------------------------------------------------------


def braked(everybody: Iterable[Seen], now_s: float, terms: LeaseTerms) -> bool:
    """Whether so many fell silent together, at several providers, that it is more likely us.

    Whoever has been silent for longer than the orphan time has ended itself and is not counted.
    """
    agents, silent, providers = 0, 0, set[str]()
    for seen in everybody:
        silent_s = now_s - seen.heard_s
        if not seen.expected or silent_s >= terms.orphan_s + terms.broker_s:
            continue
        agents += 1
        if silent_s > BRAKE_BEATS * terms.beat_s:
            silent += 1
            providers.add(seen.provider)
    return (
        agents >= BRAKE_AGENTS_MIN
        and silent > BRAKE_SHARE * agents
        and len(providers) >= BRAKE_PROVIDERS
    )


# Who judges ---------------------------------------------------------------------------------------


def rank_of(me: str, slot: str, members: Iterable[str]) -> int:
    """Give this watchdog's place in a slot by rendezvous hash, 0 first.

    Two watchdogs that disagree about who lives only judge earlier or later than meant.
    """
    mine = _weight(me, slot)
    return sum(1 for other in members if other != me and _weight(other, slot) > mine)


def _weight(member: str, slot: str) -> bytes:
    return hashlib.sha256(f"{member}/{slot}".encode()).digest()
