"""What the dispatcher decides, without a world around it."""

import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer.driver import Manifest, Offer, OfferList
from vaultlayer.errors import InputError
from vaultlayer.fold import fold
from vaultlayer.ids import JobId
from vaultlayer.job import Job
from vaultlayer.lifecycle import faults, steps_again
from vaultlayer_actors.dispatcher.ages import NAMES_MAX, Ages
from vaultlayer_actors.dispatcher.core import BOOT_FAILURES_MAX, STOP_GRACE_S, next_step
from vaultlayer_actors.dispatcher.people import check_spec

NOISE = b"12345678"
LOCAL = Manifest(name="local", sole=True, work_root="/w", boot_s=60.0)
CLOUD = Manifest(name="cloud", work_root="/workspace", boot_s=300.0)


def offers(*manifests: Manifest, price: float = 0.0) -> list[OfferList]:
    return [
        OfferList(
            provider=m.name,
            offers=[Offer(provider=m.name, offer_id=f"{m.name}-1", price_usd_h=price)],
            manifest=m,
        )
        for m in manifests
    ]


class History:
    """A job's log in the making: appends what is given, checks the invariants after each entry."""

    def __init__(self, budget: ev.Budget | None = None, **spec: object) -> None:
        self.job: Job | None = None
        self.at = 1000.0
        self.seq = 0
        made = ev.JobSpec(command=["python", "train.py"], budget=budget or ev.Budget(), **spec)  # type: ignore[arg-type]
        self.add(ev.Submitted(spec=made))

    def add(self, event: ev.Event, *, after_s: float = 1.0) -> "History":
        self.seq += 1
        self.at += after_s
        stamped = msgspec.structs.replace(event, job="jabc", cmd_id=f"c{self.seq}", at=self.at)
        self.job = fold(self.job, stamped, self.seq)
        assert self.job is not None
        assert faults(self.job) == []
        return self

    def step(self, *manifests: Manifest, now_s: float | None = None, price: float = 0.0):
        assert self.job is not None
        lists = offers(*manifests, price=price) if manifests else None
        return next_step(self.job, self.at if now_s is None else now_s, lists, NOISE)

    def follow(self, *manifests: Manifest) -> ev.Event:
        """Append what is due and give it."""
        event = self.step(*manifests).event
        assert event is not None
        self.add(event)
        return event

    def running(self, manifest: Manifest = LOCAL) -> "History":
        """Bring a fresh attempt to the point where its script runs."""
        event = self.follow(manifest)
        assert isinstance(event, ev.Ordered)
        number = event.attempt
        self.add(ev.CreateClaimed(attempt=number))
        self.add(ev.Created(attempt=number, instance=f"i{number}"))
        self.add(ev.Ready(attempt=number))
        assert isinstance(self.follow(manifest), ev.Takeover)
        return self.add(ev.Started(attempt=number))

    def commit(self, attempt: int, seq: int, step: int = 10) -> "History":
        return self.add(
            ev.CheckpointCommitted(
                attempt=attempt, seq=seq, manifest=f"m{attempt}.{seq}", key="k", step=step
            )
        )


def test_a_new_job_asks_for_offers_and_then_orders() -> None:
    history = History()
    assert history.step().wants_offers
    event = history.follow(LOCAL)
    assert isinstance(event, ev.Ordered)
    assert (event.attempt, event.provider, event.work_path) == (1, "local", "/w/jabc")


def test_a_ready_attempt_takes_over_at_once() -> None:
    history = History().running()
    assert history.job is not None
    assert history.job.active == 1


def test_the_replacement_resumes_from_the_newest_commit() -> None:
    history = History().running(CLOUD).commit(1, 1).commit(1, 2, step=20)
    history.add(ev.Lost(attempt=1, evidence="provider: gone"))
    assert isinstance(history.follow(CLOUD), ev.Ordered)
    history.add(ev.Created(attempt=2, instance="i2")).add(ev.Ready(attempt=2))
    event = history.follow(CLOUD)
    assert isinstance(event, ev.Takeover)
    assert (event.attempt, event.resume_from, event.resume_step) == (2, "m1.2", 20)


def test_a_sole_provider_gets_no_order_before_the_old_machine_is_gone() -> None:
    history = History().running()
    history.add(ev.Lost(attempt=1, evidence="lease"))
    assert history.step(LOCAL).event is None
    history.add(ev.Fenced(attempt=1))
    assert history.step(LOCAL).event is None
    history.add(ev.Gone(attempt=1))
    assert isinstance(history.step(LOCAL).event, ev.Ordered)


def test_a_suspect_gets_a_standby_and_keeps_its_lease() -> None:
    history = History().running(CLOUD).add(ev.Suspected(attempt=1, evidence="silent"))
    assert isinstance(history.follow(CLOUD), ev.Ordered)
    history.add(ev.Created(attempt=2, instance="i2")).add(ev.Ready(attempt=2))
    assert history.step(CLOUD).event is None
    history.add(ev.Lapsed(attempt=1))
    assert isinstance(history.step(CLOUD).event, ev.Takeover)


def test_a_false_alarm_releases_the_standby_and_keeps_the_active_one() -> None:
    history = History().running(CLOUD).add(ev.Suspected(attempt=1, evidence="silent"))
    history.follow(CLOUD)
    history.add(ev.Cleared(attempt=1))
    event = history.follow(CLOUD)
    assert isinstance(event, ev.Released)
    assert event.attempt == 2
    assert history.job is not None
    assert history.job.active == 1


def test_a_suspect_on_a_sole_provider_waits_for_the_verdict() -> None:
    history = History().running().add(ev.Suspected(attempt=1, evidence="silent"))
    assert history.step(LOCAL).event is None


def test_exit_zero_finishes_releases_and_closes() -> None:
    history = History().running().commit(1, 1).add(ev.Exited(attempt=1, exit_code=0))
    event = history.follow()
    assert isinstance(event, ev.Finished)
    assert event.outcome == "succeeded"
    assert history.step().event is None
    history.add(ev.Fenced(attempt=1)).add(ev.Gone(attempt=1))
    assert isinstance(history.follow(), ev.Closed)


def test_a_script_that_fails_by_itself_is_not_started_again_by_default() -> None:
    history = History().running().add(ev.Exited(attempt=1, exit_code=3))
    event = history.follow(LOCAL)
    assert isinstance(event, ev.Finished)
    assert (event.outcome, event.exit_code) == ("failed", 3)


def test_user_restarts_are_a_budget_of_their_own() -> None:
    history = History(budget=ev.Budget(user_restarts=1)).running()
    history.add(ev.Exited(attempt=1, exit_code=3)).add(ev.Fenced(attempt=1)).add(ev.Gone(attempt=1))
    history.running().add(ev.Exited(attempt=2, exit_code=4))
    event = history.follow(LOCAL)
    assert isinstance(event, ev.Finished)
    assert event.exit_code == 4


def test_a_script_killed_from_outside_is_started_again() -> None:
    history = History().running().add(ev.Exited(attempt=1, exit_code=137, signal=9))
    history.add(ev.Fenced(attempt=1)).add(ev.Gone(attempt=1))
    assert isinstance(history.step(LOCAL).event, ev.Ordered)


def test_deaths_without_a_new_checkpoint_end_the_job() -> None:
    history = History(budget=ev.Budget(no_progress=3))
    for number in (1, 2, 3):
        history.running().add(ev.Exited(attempt=number, exit_code=137, signal=9))
        if number < 3:
            history.add(ev.Fenced(attempt=number)).add(ev.Gone(attempt=number))
    event = history.follow(LOCAL)
    assert isinstance(event, ev.Finished)
    assert "3 times" in event.reason


def test_a_checkpoint_between_two_deaths_counts_as_progress() -> None:
    history = History(budget=ev.Budget(no_progress=2))
    for number in (1, 2, 3):
        history.running().commit(number, 1).add(ev.Exited(attempt=number, exit_code=137, signal=9))
        history.add(ev.Fenced(attempt=number)).add(ev.Gone(attempt=number))
    assert isinstance(history.step(LOCAL).event, ev.Ordered)


def test_a_machine_that_never_boots_is_given_up_at_its_deadline() -> None:
    history = History()
    history.follow(CLOUD)
    assert history.step(CLOUD, now_s=history.at + 299).event is None
    wake_at = history.step(CLOUD).wake_at
    assert wake_at == pytest.approx(history.at + 300)
    assert isinstance(history.step(CLOUD, now_s=history.at + 301).event, ev.Lost)


def test_failed_creates_are_followed_by_growing_pauses() -> None:
    history = History()
    pauses: list[float] = []
    for number in range(1, 5):
        history.follow(CLOUD)
        history.add(ev.CreateFailed(attempt=number, code="no-capacity", reason="none"))
        step = history.step(CLOUD)
        assert step.event is None
        assert step.wake_at is not None
        pauses.append(step.wake_at - history.at)
        history.at = step.wake_at + 61
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]


def test_the_dollar_cap_counts_machines_that_still_run() -> None:
    history = History(budget=ev.Budget(max_cost_usd=2.0))
    event = history.step(CLOUD, price=4.0).event
    assert isinstance(event, ev.Ordered)
    history.add(event).add(ev.Created(attempt=1, instance="i", price_usd_h=4.0))
    history.add(ev.Ready(attempt=1))
    history.follow()
    assert history.step(now_s=history.at + 1700).event is None
    late = history.step(now_s=history.at + 1900).event
    assert isinstance(late, ev.Finished)
    assert "cap" in late.reason
    assert history.step().wake_at == pytest.approx(history.at + 1798, abs=5)


def test_cancel_waits_for_the_agent_to_save_and_then_ends() -> None:
    history = History().running().add(ev.CancelRequested())
    step = history.step()
    assert step.event is None
    assert step.wake_at is not None
    assert isinstance(history.step(now_s=step.wake_at).event, ev.Finished)
    history.add(ev.Exited(attempt=1, exit_code=143, signal=15))
    event = history.step().event
    assert isinstance(event, ev.Finished)
    assert event.outcome == "cancelled"


def test_a_notice_orders_a_standby_that_may_take_over_before_the_end() -> None:
    history = History().running(CLOUD).add(ev.Noticed(attempt=1, grace_s=120))
    assert isinstance(history.follow(CLOUD), ev.Ordered)
    history.add(ev.Created(attempt=2, instance="i2")).add(ev.Ready(attempt=2))
    assert isinstance(history.follow(CLOUD), ev.Takeover)
    assert history.job is not None
    assert history.job.attempts[1].end_reason == "superseded by attempt 2"


def test_an_exclusive_job_waits_until_the_old_machine_is_seen_gone() -> None:
    history = History(exclusive=True).running(CLOUD).add(ev.Lost(attempt=1, evidence="lease"))
    history.follow(CLOUD)
    history.add(ev.Created(attempt=2, instance="i2")).add(ev.Ready(attempt=2))
    assert history.step(CLOUD).event is None
    history.add(ev.Fenced(attempt=1)).add(ev.Gone(attempt=1))
    assert isinstance(history.step(CLOUD).event, ev.Takeover)


def test_the_cheaper_offer_that_was_passed_over_is_named_with_the_reason() -> None:
    history = History(gpu="T4", gpu_count=1)
    lists = [
        OfferList(
            provider="cloud",
            manifest=CLOUD,
            offers=[
                Offer(provider="cloud", offer_id="cheap", gpu="L4", gpu_count=1, price_usd_h=0.1),
                Offer(provider="cloud", offer_id="right", gpu="T4", gpu_count=1, price_usd_h=0.2),
            ],
        )
    ]
    assert history.job is not None
    event = next_step(history.job, history.at, lists, NOISE).event
    assert isinstance(event, ev.Ordered)
    assert event.offer.offer_id == "right"
    assert event.passed_over == ["cloud cheap $0.100/h: has L4 x1"]


def boot_failure(history: History, number: int) -> None:
    """The newest attempt never ran the script, and is out of the way."""
    history.add(ev.Lost(attempt=number, evidence="not ready within 300 s"))
    history.add(ev.Fenced(attempt=number)).add(ev.Gone(attempt=number), after_s=100)


def test_machines_that_never_ran_the_script_do_not_end_a_job_that_trains() -> None:
    history = History().running(CLOUD).add(ev.Noticed(attempt=1, grace_s=30))
    for number in range(2, 12):
        assert isinstance(history.follow(CLOUD), ev.Ordered)
        boot_failure(history, number)
    assert isinstance(history.step(CLOUD).event, ev.Ordered)


def test_machines_that_were_ready_and_never_ran_the_script_end_a_job_too() -> None:
    history = History()
    for number in range(1, BOOT_FAILURES_MAX + 1):
        assert isinstance(history.follow(CLOUD), ev.Ordered)
        history.add(ev.Created(attempt=number, instance=f"i{number}"))
        history.add(ev.Ready(attempt=number))
        assert isinstance(history.follow(CLOUD), ev.Takeover)
        boot_failure(history, number)
    event = history.step(CLOUD).event
    assert isinstance(event, ev.Finished)
    assert "never ran the script" in event.reason


def test_an_offer_cools_down_for_as_long_as_its_provider_says() -> None:
    history = History()
    history.follow(LOCAL)
    failed = ev.CreateFailed(attempt=1, code="no-capacity", reason="none", cooldown_s=2.0)
    history.add(failed)
    assert history.step(LOCAL, now_s=history.at + 1.5).event is None
    assert isinstance(history.step(LOCAL, now_s=history.at + 2.5).event, ev.Ordered)


def test_an_exclusive_job_gives_up_a_machine_whose_lease_has_lapsed() -> None:
    history = History(exclusive=True).running(CLOUD).add(ev.Suspected(attempt=1, evidence="silent"))
    history.follow(CLOUD)
    history.add(ev.Lapsed(attempt=1))
    assert history.step(CLOUD).event is None
    history.add(ev.Created(attempt=2, instance="i2")).add(ev.Ready(attempt=2))
    event = history.follow(CLOUD)
    assert isinstance(event, ev.Lost)
    assert event.attempt == 1
    history.add(ev.Fenced(attempt=1)).add(ev.Gone(attempt=1))
    assert isinstance(history.step(CLOUD).event, ev.Takeover)


def test_a_clock_that_is_an_hour_ahead_gives_up_no_machine() -> None:
    history = History()
    history.follow(CLOUD)
    assert history.job is not None
    ages: dict[str, float] = {"boot-1": 10.0}
    step = next_step(
        history.job, history.at + 3600, None, NOISE, age_s=lambda name, _at: ages[name]
    )
    assert step.event is None
    assert step.wake_at == pytest.approx(history.at + 3600 + 290)
    ages["boot-1"] = 300.0
    step = next_step(
        history.job, history.at - 3600, None, NOISE, age_s=lambda name, _at: ages[name]
    )
    assert isinstance(step.event, ev.Lost)


def test_a_clock_that_is_an_hour_behind_keeps_no_cancelled_job_alive() -> None:
    history = History().running().add(ev.CancelRequested())
    assert history.job is not None
    step = next_step(
        history.job, history.at - 3600, None, NOISE, age_s=lambda _name, _at: STOP_GRACE_S
    )
    assert isinstance(step.event, ev.Finished)


def test_ages_count_from_when_this_process_first_asked() -> None:
    clock = [100.0]
    ages, job = Ages(lambda: clock[0]), JobId("jabc")
    assert ages.age_s(job, "cancel") == 0.0
    clock[0] = 130.0
    assert ages.age_s(job, "cancel") == 30.0
    for number in range(NAMES_MAX):
        ages.age_s(job, f"boot-{number}")
    assert ages.age_s(job, "cancel") == 0.0, "what is long past is dropped"


@pytest.mark.parametrize(
    "budget",
    [
        ev.Budget(losses_per_h=0),
        ev.Budget(no_progress=0),
        ev.Budget(user_restarts=-1),
        ev.Budget(max_cost_usd=0.0),
        ev.Budget(max_price_usd_h=-1.0),
        ev.Budget(deadline_s=0.0),
    ],
)
def test_a_budget_with_which_nothing_can_be_run_is_refused(budget: ev.Budget) -> None:
    with pytest.raises(InputError, match="budget"):
        check_spec(JobId("j23456789a"), ev.JobSpec(command=["true"], budget=budget))


def test_steps_that_run_again_are_those_known_beyond_the_resumed_one() -> None:
    history = History().running(CLOUD).commit(1, 1, step=40)
    assert history.job is not None
    assert steps_again(history.job, 1, None) is None, "nothing was made before the first start"
    history.add(ev.Lost(attempt=1, evidence="gone", last_step=57)).running(CLOUD)
    assert steps_again(history.job, 2, 40) == 17
    assert steps_again(history.job, 2, None) == 57, "from zero all of them"
    assert steps_again(history.job, 2, 60) is None, "it died between two beats"


def test_a_committed_step_was_made_though_no_beat_told_of_it() -> None:
    history = History().running(CLOUD).commit(1, 1, step=40).commit(1, 2, step=80)
    history.add(ev.Lost(attempt=1, evidence="gone", last_step=30)).running(CLOUD)
    assert history.job is not None
    assert steps_again(history.job, 2, 40) == 40
