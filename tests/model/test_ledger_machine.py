"""Random histories on the real ledger keep every promise, and a missing guard is noticed."""

import msgspec
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from model import ledger_machine, ledger_world
from model.ledger_machine import LedgerMachine
from vaultlayer import events as ev
from vaultlayer import ledger as ledger_module
from vaultlayer.bus.memory import MemoryLog
from vaultlayer.errors import ErrorBody
from vaultlayer.fold import fold
from vaultlayer.ids import JobId
from vaultlayer.job import Job

DEFAULT = settings(
    max_examples=100,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
UNSHRUNK = settings(
    DEFAULT, phases=[Phase.generate], database=None, derandomize=True, report_multiple_bugs=False
)


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Snapshots every few entries, so that folds start from one in most histories."""
    monkeypatch.setattr(ledger_module, "SNAPSHOT_EVERY", 7)


def test_several_actors_and_a_failing_log_keep_every_promise():
    run_state_machine_as_test(LedgerMachine, settings=DEFAULT)


def blind_to_generation(job: Job, number: int, _incarnation: str, seq: int) -> ErrorBody | None:
    attempt = job.attempts.get(number)
    if attempt is None or seq <= attempt.last_checkpoint_seq:
        return ErrorBody(code="out-of-order", what="late")
    return None


def blind_to_order(job: Job, number: int, _incarnation: str, _seq: int) -> ErrorBody | None:
    attempt = job.attempts.get(number)
    if attempt is None or number != job.active or not attempt.is_live:
        return ErrorBody(code="superseded", what="not active")
    return None


def forgets_commands(job: Job | None, event: ev.Event, seq: int) -> Job | None:
    after = fold(job, event, seq)
    return msgspec.structs.replace(after, seen=()) if after else None


async def appends_blindly(log: MemoryLog, event: ev.Event, *, after: int) -> int:
    """An append that is no compare-and-swap: whatever the newest entry is, it comes after it."""
    entries = await log.read(JobId(event.job))
    newest = entries[-1].seq if entries else 0
    return await APPEND(log, event, after=max(after, newest))


APPEND = MemoryLog.append
MUTANTS: dict[str, tuple[list[tuple[object, str]], object, str]] = {
    "generation": ([(ledger_machine, "may_commit")], blind_to_generation, "commits"),
    "order": ([(ledger_machine, "may_commit")], blind_to_order, "rise"),
    "command ids": (
        [(ledger_module, "fold"), (ledger_world, "fold")],
        forgets_commands,
        "took effect twice",
    ),
    "compare-and-swap": ([(MemoryLog, "append")], appends_blindly, "disagree"),
}


@pytest.mark.parametrize("guard", MUTANTS)
def test_the_machine_notices_when_a_guard_is_missing(guard: str, monkeypatch: pytest.MonkeyPatch):
    places, mutant, said = MUTANTS[guard]
    for place, name in places:
        monkeypatch.setattr(place, name, mutant)
    with pytest.raises(AssertionError, match=said):
        run_state_machine_as_test(LedgerMachine, settings=UNSHRUNK)
