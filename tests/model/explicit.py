"""An explicit-state model of one job over the real fold and the real guards, searched breadth first.

One job, a few attempts, and an adversary that may do at any moment: order, make ready, hand over, call any
attempt silent, cleared, lost or released, end the script; and, for every attempt that was ever active, dead
ones included: upload the next checkpoint, and deliver its commit request, any number of times, however late.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import msgspec

from histories import incarnation, offer
from vaultlayer import events as ev
from vaultlayer import fold as fold_module
from vaultlayer import lifecycle
from vaultlayer.job import Job

JOB = "jabcdefghj"


@dataclass(frozen=True)
class World:
    """The log's state, what each attempt has uploaded, and who wrote each object last."""

    job: Job
    uploads: tuple[int, ...] = ()
    store: tuple[tuple[str, int], ...] = ()
    decided: ev.CheckpointCommitted | None = None
    """A commit decided on an older fold; only a broker without compare-and-swap has one."""

    def key(self) -> bytes:
        body = msgspec.msgpack.encode((self.job, self.uploads, self.store, self.decided))
        return hashlib.blake2b(body, digest_size=16).digest()

    def writer_of(self, key: str) -> int:
        return dict(self.store).get(key, 0)


@dataclass(frozen=True)
class Rules:
    """The bounds of the search, and which guards the model itself applies."""

    attempts: int = 3
    checkpoints: int = 2
    """Per attempt."""
    isolated: bool = True
    """Each attempt writes below its own prefix only."""
    atomic: bool = True
    """A decision is appended only on the state it was made on."""


Step = tuple[str, World]


@dataclass(frozen=True)
class Found:
    """What a search found: how many states, and the shortest way to a broken invariant, if any."""

    states: int
    fault: str = ""
    path: tuple[str, ...] = ()


def search(rules: Rules, *, states_max: int = 1_000_000) -> Found:
    """Visit every reachable state, nearest first, and stop at the first broken invariant."""
    start = World(job=_apply(None, ev.Submitted(spec=ev.JobSpec(command=["train"]))))
    came_from: dict[bytes, tuple[bytes, str]] = {start.key(): (b"", "")}
    queue = deque([(start.key(), start)])
    while queue:
        key, world = queue.popleft()
        for label, after in steps(world, rules):
            after_key = after.key()
            if after_key in came_from:
                continue
            came_from[after_key] = (key, label)
            if fault := broken(world, after):
                return Found(len(came_from), fault, _path(came_from, after_key))
            assert len(came_from) < states_max
            queue.append((after_key, after))
    return Found(len(came_from))


def _path(came_from: dict[bytes, tuple[bytes, str]], key: bytes) -> tuple[str, ...]:
    labels: list[str] = []
    while came_from[key][1]:
        key, label = came_from[key]
        labels.append(label)
    return tuple(reversed(labels))


# What can happen ----------------------------------------------------------------------------------


def steps(world: World, rules: Rules) -> Iterator[Step]:
    """Give everything that may happen next."""
    yield from _broker_steps(world, rules)
    for number, attempt in world.job.attempts.items():
        if attempt.active_at:
            yield from _agent_steps(world, number, rules)
            yield from _request_steps(world, number, rules)
    if world.decided is not None:
        yield (
            f"append the old decision on a{world.decided.attempt}#{world.decided.seq}",
            replace(world, job=_apply(world.job, world.decided), decided=None),
        )


def _broker_steps(world: World, rules: Rules) -> Iterator[Step]:
    job = world.job
    if len(job.attempts) < rules.attempts and not job.outcome:
        yield _appended(world, f"order a{len(job.attempts) + 1}", _order(len(job.attempts) + 1))
    for number, attempt in job.attempts.items():
        if lifecycle.may_take_over(job, number) is None:
            head = job.head
            takeover = ev.Takeover(attempt=number, resume_from=head.manifest if head else "")
            yield _appended(world, f"takeover a{number}", takeover)
        if attempt.is_live:
            yield from _verdicts(world, number)


def _verdicts(world: World, number: int) -> Iterator[Step]:
    """Everything the broker may say of a live attempt, whether it is true or not."""
    attempt = world.job.attempts[number]
    said: list[tuple[str, ev.Event]] = [("lost", ev.Lost(attempt=number, evidence="x"))]
    if attempt.is_standby:
        said.append(("ready", ev.Ready(attempt=number)))
        said.append(("released", ev.Released(attempt=number, reason="x")))
    else:
        said.append(("exited", ev.Exited(attempt=number, exit_code=0)))
        lapse = ev.Cleared(attempt=number) if attempt.lapsed_at else ev.Lapsed(attempt=number)
        said.append((ev.kind_of(lapse), lapse))
    for label, event in said:
        yield _appended(world, f"{label} a{number}", event)


def _agent_steps(world: World, number: int, rules: Rules) -> Iterator[Step]:
    """An agent that was told to go on uploads, whatever has become of it since."""
    uploads = (*world.uploads, *(0,) * (number - len(world.uploads)))
    seq = uploads[number - 1] + 1
    if seq > rules.checkpoints:
        return
    uploads = (*uploads[: number - 1], seq, *uploads[number:])
    store = dict(world.store) | {key_of(number, seq, rules): number}
    yield (
        f"a{number} uploads #{seq}",
        replace(world, uploads=uploads, store=tuple(sorted(store.items()))),
    )


def _request_steps(world: World, number: int, rules: Rules) -> Iterator[Step]:
    """Any request that was ever sent arrives, perhaps again."""
    sent = world.uploads[number - 1] if number <= len(world.uploads) else 0
    for seq in range(1, sent + 1):
        key = key_of(number, seq, rules)
        verifies = world.writer_of(key) == number
        refused = lifecycle.may_commit(world.job, number, incarnation(number), seq)
        if refused is not None or not verifies:
            continue
        commit = ev.CheckpointCommitted(
            attempt=number, seq=seq, manifest=f"m{number}.{seq}", key=key
        )
        if rules.atomic:
            yield _appended(world, f"commit a{number}#{seq}", commit)
        elif world.decided is None:
            yield f"decide on a{number}#{seq}", replace(world, decided=commit)


def key_of(number: int, seq: int, rules: Rules) -> str:
    """Where an attempt puts its checkpoint."""
    return f"a{number}/{seq}" if rules.isolated else f"{seq}"


def _order(number: int) -> ev.Ordered:
    return ev.Ordered(
        attempt=number, incarnation=incarnation(number), provider="cloud", offer=offer()
    )


def _appended(world: World, label: str, event: ev.Event) -> Step:
    return label, replace(world, job=_apply(world.job, event))


def _apply(job: Job | None, event: ev.Event) -> Job:
    """Fold one entry in, and forget what only tells histories apart: times, sequences, command ids."""
    stamped = msgspec.structs.replace(event, job=JOB, at=1.0)
    after = fold_module.fold(job, stamped, 1)
    assert after is not None
    return msgspec.structs.replace(after, seq=0, entries=0, seen=())


# What must hold -----------------------------------------------------------------------------------


def broken(before: World, after: World) -> str:
    """Name the first invariant that the step from `before` to `after` breaks; empty for none."""
    for check in CHECKS:
        if fault := check(before, after):
            return fault
    return ""


def _generation(before: World, after: World) -> str:
    new = after.job.checkpoints[len(before.job.checkpoints) :]
    late = [c for c in new if c.attempt != before.job.active]
    return f"a{late[0].attempt} commits after the takeover of a{before.job.active}" if late else ""


def _rising(_before: World, after: World) -> str:
    order = [(c.attempt, c.seq) for c in after.job.checkpoints]
    return "" if order == sorted(set(order)) else f"order does not rise: {order}"


def _written_by_its_own(_before: World, after: World) -> str:
    for checkpoint in after.job.checkpoints:
        writer = after.writer_of(checkpoint.key)
        if writer != checkpoint.attempt:
            return f"{checkpoint.manifest} was written by a{writer}"
    return ""


def _resume_point(_before: World, after: World) -> str:
    """Until it commits itself, an attempt stands on the last commit of all."""
    active = after.job.active_attempt
    if active is None or active.last_checkpoint_seq:
        return ""
    head = after.job.head.manifest if after.job.head else ""
    return "" if active.resumed_from == head else f"resumed {active.resumed_from}, last is {head}"


def _no_faults(_before: World, after: World) -> str:
    return "; ".join(lifecycle.faults(after.job))


CHECKS: tuple[Callable[[World, World], str], ...] = (
    _generation,
    _rising,
    _written_by_its_own,
    _resume_point,
    _no_faults,
)
