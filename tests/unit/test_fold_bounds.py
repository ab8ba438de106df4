"""A job that runs for months: its state stays small enough to be stored, sent and read."""

import itertools

import msgspec
import pytest

from histories import incarnation
from vaultlayer import events as ev
from vaultlayer.driver import Offer
from vaultlayer.fold import ATTEMPTS_MAX, CHECKPOINTS_MAX, RECENT, fold
from vaultlayer.job import Job, Phase, spent_usd
from vaultlayer.lifecycle import faults

KEY = "some/root/jobs/j22222222a/a123-incarnat/manifests/" + 64 * "f" + ".json"
STATE_MOST_B = 512 * 1024
"""Half of what a server takes by default: the job's own specification comes on top."""


class Long:
    """A long log, folded as it grows."""

    def __init__(self) -> None:
        self.job: Job | None = None
        self.seq = 0
        self.add(ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"])))

    @property
    def state(self) -> Job:
        assert self.job is not None
        return self.job

    def add(self, *events: ev.Event) -> "Long":
        for event in events:
            self.seq += 1
            stamped = msgspec.structs.replace(
                event, job="j22222222a", cmd_id=f"command-{self.seq}", at=float(self.seq)
            )
            self.job = fold(self.job, stamped, self.seq)
        return self

    def order(self) -> int:
        number = max(self.state.attempts, default=0) + 1
        offer = Offer(provider="cloud", offer_id="o", price_usd_h=1.0, detail="d" * 80)
        self.add(
            ev.Ordered(
                attempt=number, incarnation=incarnation(number), provider="cloud", offer=offer
            )
        )
        return number

    def run(self) -> int:
        number = self.order()
        self.add(ev.Created(attempt=number, instance=f"i{number}"), ev.Ready(attempt=number))
        return self.add(ev.Takeover(attempt=number), ev.Started(attempt=number)) and number

    def lose(self, number: int, cost_usd: float = 1.0) -> None:
        self.add(
            ev.Lost(attempt=number, evidence="x" * 80),
            ev.Fenced(attempt=number),
            ev.Gone(attempt=number, cost_usd=cost_usd),
        )

    def commit(self, number: int, seq: int) -> None:
        name = f"{number:032x}{seq:032x}"
        self.add(
            ev.CheckpointCommitted(
                attempt=number, seq=seq, manifest=name, key=KEY, parent=64 * "a", step=seq
            )
        )


def size_b(job: Job) -> int:
    return len(msgspec.json.encode(job))


def test_ten_thousand_checkpoints_fit_into_one_message() -> None:
    long = Long()
    number = long.run()
    for seq in range(1, 10_001):
        long.commit(number, seq)
    job = long.state
    assert len(job.checkpoints) == CHECKPOINTS_MAX
    assert job.commits == 10_000
    assert size_b(job) < STATE_MOST_B
    assert [c.seq for c in job.checkpoints[-RECENT:]] == list(range(10_001 - RECENT, 10_001))
    old = [c.seq for c in job.checkpoints[:-RECENT]]
    gaps = [b - a for a, b in itertools.pairwise(old)]
    assert old[0] == 1
    assert max(gaps) < 3 * 10_000 / len(old), "what is old is spread over the whole past"
    assert faults(job) == []


def test_the_newest_good_checkpoint_is_never_dropped() -> None:
    long = Long()
    number = long.run()
    for seq in range(1, 3 * CHECKPOINTS_MAX):
        long.commit(number, seq)
        if seq > 1:
            long.add(ev.CheckpointRejected(manifest=f"{number:032x}{seq:032x}", reason="damaged"))
    head = long.state.head
    assert head is not None
    assert head.seq == 1


def test_two_thousand_attempts_fit_into_one_message_and_none_is_forgotten_in_the_sums() -> None:
    long = Long()
    first = long.run()
    long.commit(first, 1)
    long.lose(first)
    for _ in range(2_000):
        long.add(ev.CreateFailed(attempt=long.order(), code="no-capacity", reason="r" * 80))
    exited = long.run()
    long.add(ev.Exited(attempt=exited, exit_code=3), ev.Fenced(attempt=exited))
    long.add(ev.Gone(attempt=exited, cost_usd=2.0))
    for _ in range(200):
        long.lose(long.run(), 0.5)
    job = long.state
    assert len(job.attempts) <= ATTEMPTS_MAX + 1
    assert size_b(job) < STATE_MOST_B
    assert job.attempt_count == 2202
    assert job.cost_usd == pytest.approx(1.0 + 2.0 + 100.0)
    assert spent_usd(job, 1e9) == pytest.approx(103.0)
    assert job.own_failures == 1
    assert job.has_started
    assert faults(job) == []


def test_what_still_matters_of_an_attempt_is_kept_however_old_it_is() -> None:
    long = Long()
    source = long.run()
    long.commit(source, 1)
    long.lose(source)
    billing = long.order()
    long.add(ev.Created(attempt=billing, instance="i"), ev.Lost(attempt=billing, evidence="late"))
    active = long.run()
    for _ in range(3 * ATTEMPTS_MAX):
        long.add(ev.CreateFailed(attempt=long.order(), code="no-capacity", reason="r"))
    job = long.state
    assert job.head is not None
    assert {source, billing, active} <= set(job.attempts), "the head's, the billed, the active one"
    assert job.attempts[billing].phase is Phase.ENDED
    assert faults(job) == []


def test_a_snapshot_carries_what_was_dropped() -> None:
    long = Long()
    for _ in range(2 * ATTEMPTS_MAX):
        long.lose(long.run())
    before = long.state
    snapshot = ev.Snapshot(
        job=before.job, through=before.seq, state=msgspec.Raw(msgspec.json.encode(before))
    )
    after = fold(None, snapshot, before.seq + 1)
    assert after is not None
    assert after.cost_usd == before.cost_usd
    assert after.attempt_count == before.attempt_count
