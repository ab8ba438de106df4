"""Job logs for tests: events in, the real fold's state out."""

import msgspec

from vaultlayer import events as ev
from vaultlayer.driver import Offer
from vaultlayer.fold import fold
from vaultlayer.ids import JobId
from vaultlayer.job import AttemptState, Job

JOB = JobId("jabcdefghj")
START_S = 1_000.0


def offer(provider: str = "cloud", *, price_usd_h: float = 1.0) -> Offer:
    return Offer(provider=provider, offer_id="one", price_usd_h=price_usd_h)


def incarnation(number: int) -> str:
    return f"inc{number}"


class History:
    """A log in the making; entries are a second apart unless `at` says otherwise."""

    def __init__(self, job: JobId = JOB) -> None:
        self.name = job
        self.entries: list[ev.Event] = []
        self.state: Job | None = None
        self.add(ev.Submitted(spec=ev.JobSpec(command=["python", "train.py"])))

    @property
    def job(self) -> Job:
        assert self.state is not None
        return self.state

    def attempt(self, number: int = 1) -> AttemptState:
        return self.job.attempts[number]

    def add(self, *events: ev.Event, at: float | None = None) -> "History":
        for event in events:
            seq = len(self.entries) + 1
            stamped = _stamped(event, self.name, seq, at)
            self.entries.append(stamped)
            self.state = fold(self.state, stamped, seq)
        return self

    def ordered(self, number: int = 1, provider: str = "cloud", *, sole: bool = False) -> "History":
        return self.add(
            ev.Ordered(
                attempt=number,
                incarnation=incarnation(number),
                provider=provider,
                offer=offer(provider),
                sole=sole,
            )
        )

    def booting(self, number: int = 1, provider: str = "cloud", *, sole: bool = False) -> "History":
        return self.ordered(number, provider, sole=sole).add(
            ev.CreateClaimed(attempt=number),
            ev.Created(attempt=number, instance=f"i{number}"),
            ev.Enrolled(attempt=number, user_key=f"U{number}"),
        )

    def ready(self, number: int = 1, provider: str = "cloud", *, sole: bool = False) -> "History":
        return self.booting(number, provider, sole=sole).add(ev.Ready(attempt=number))

    def active(self, number: int = 1, provider: str = "cloud", *, sole: bool = False) -> "History":
        return self.ready(number, provider, sole=sole).add(ev.Takeover(attempt=number))


def _stamped(event: ev.Event, job: JobId, seq: int, at: float | None) -> ev.Event:
    return msgspec.structs.replace(
        event, job=job, cmd_id=f"c{seq}", actor="test", at=START_S + seq if at is None else at
    )
