"""Random histories of several actors on the real ledger: conflicts, lost answers, crashes, late requests."""

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from histories import incarnation, offer
from model.ledger_world import (
    ACTORS,
    Call,
    World,
    check_commands,
    check_lineage,
    check_money,
)
from vaultlayer import events as ev
from vaultlayer.bus.memory import Fault
from vaultlayer.errors import ErrorBody
from vaultlayer.ids import JobId
from vaultlayer.job import AttemptState, Job, Phase
from vaultlayer.ledger import Decide
from vaultlayer.lifecycle import faults, is_current, may_commit, may_take_over
from vaultlayer_actors.fencer import core as fencer
from vaultlayer_actors.watchdog import core as watchdog

ATTEMPTS_MAX = 4

actors = st.sampled_from(ACTORS)
troubles = st.sampled_from(["", "", "", "", "rival", *(fault.value for fault in Fault)])
numbers = st.integers(1, ATTEMPTS_MAX)
seqs = st.integers(1, 4)


class LedgerMachine(RuleBasedStateMachine):
    """One job; any actor may do anything at any time, as late and as often as it likes."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World(job_id=JobId("jabcdefghj"))

    @initialize(attempts=st.integers(0, 3), saves=st.integers(0, 2))
    def submit(self, attempts: int, saves: int) -> None:
        """A job that has come some way already."""
        spec = ev.JobSpec(command=["train"])
        self.world.append("a", lambda job: None if job else ev.Submitted(spec=spec), "submit")
        for number in range(1, attempts + 1):
            self.get_on("a", "")
            self.make_newest("b", "")
            self.enrol("b", number, "")
            self.get_on("a", "")
            self.get_on("a", "")
            for _ in range(saves):
                self.save("c", "")

    # The way things should go, so that histories get far ------------------------------------------

    @rule(who=actors, trouble=troubles)
    def get_on(self, who: str, trouble: str) -> None:
        """The newest attempt's next step towards taking over, or a new order."""
        job = self.world.read(who)
        newest = job.newest
        if newest is None or not newest.is_live or newest.phase is Phase.ACTIVE:
            self.order(who, trouble)
        elif newest.phase in {Phase.ORDERED, Phase.BOOTING}:
            self.ready(who, newest.number, trouble)
        else:
            self.judge(who, job.active or newest.number, watchdog.Kind.LAPSED, trouble)
            self.take_over(who, newest.number, trouble)

    @rule(who=actors, trouble=troubles)
    def make_newest(self, who: str, trouble: str) -> None:
        """The newest attempt's machine, without anything going wrong at the provider."""
        newest = self.world.read(who).newest
        if newest is None or not newest.is_live or newest.instance:
            return
        self.claim(who, newest.number, trouble)
        for call in [c for c in self.world.calls if not c.instance]:
            self._make(call)
            self.world.calls.remove(call)
            self._record(who, call.instance, trouble)

    @rule(who=actors, trouble=troubles)
    def save(self, who: str, trouble: str) -> None:
        """The active attempt commits its next checkpoint."""
        active = self.world.read(who).active_attempt
        if active is not None:
            self.commit(who, active.number, active.last_checkpoint_seq + 1, False, trouble)

    # The dispatcher -------------------------------------------------------------------------------

    @rule(who=actors, trouble=troubles)
    def order(self, who: str, trouble: str) -> None:
        def decide(job: Job | None) -> ev.Event | None:
            if job is None or job.outcome or len(job.attempts) >= ATTEMPTS_MAX:
                return None
            number = len(job.attempts) + 1
            return ev.Ordered(
                attempt=number, incarnation=incarnation(number), provider="cloud", offer=offer()
            )

        self.world.append(who, decide, fault=trouble)

    @rule(who=actors, number=numbers, trouble=troubles)
    def take_over(self, who: str, number: int, trouble: str) -> None:
        def decide(job: Job | None) -> ev.Event | ErrorBody | None:
            if job is None:
                return None
            head = job.head
            return may_take_over(job, number) or ev.Takeover(
                attempt=number, resume_from=head.manifest if head else ""
            )

        self.world.append(who, decide, fault=trouble)

    @rule(who=actors, number=numbers, trouble=troubles)
    def ready(self, who: str, number: int, trouble: str) -> None:
        self._say(who, number, ev.Ready(attempt=number), trouble, {Phase.ORDERED, Phase.BOOTING})

    @rule(who=actors, number=numbers, seq=seqs, again=st.booleans(), trouble=troubles)
    def commit(self, who: str, number: int, seq: int, again: bool, trouble: str) -> None:
        """A request of any attempt for any of its checkpoints: early, late, repeated or forgotten."""

        def decide(job: Job | None) -> ev.Event | ErrorBody | None:
            if job is None:
                return None
            return may_commit(job, number, incarnation(number), seq) or ev.CheckpointCommitted(
                attempt=number, seq=seq, manifest=f"m{number}.{seq}", key=f"a{number}/{seq}"
            )

        # The agent repeats a request with its own command id; after a restart it has a new one.
        cmd_id = self.world.fresh_cmd() if again else f"ckpt-{number}-{seq}"
        self.world.append(who, decide, cmd_id, trouble)

    @rule(who=actors, trouble=troubles)
    def reject(self, who: str, trouble: str) -> None:
        def decide(job: Job | None) -> ev.Event | None:
            active = job.active_attempt if job else None
            if job is None or job.head is None or active is None or active.last_checkpoint_seq:
                return None
            return ev.CheckpointRejected(attempt=job.active, manifest=job.head.manifest, reason="x")

        self.world.append(who, decide, fault=trouble)

    @rule(who=actors, number=numbers, trouble=troubles)
    def release(self, who: str, number: int, trouble: str) -> None:
        standby = {Phase.ORDERED, Phase.BOOTING, Phase.READY}
        self._say(who, number, ev.Released(attempt=number, reason="x"), trouble, standby)

    @rule(who=actors, number=numbers, status=st.integers(0, 1), trouble=troubles)
    def exit(self, who: str, number: int, status: int, trouble: str) -> None:
        event = ev.Exited(attempt=number, exit_code=status)
        self._say(who, number, event, trouble, {Phase.ACTIVE})

    @rule(who=actors)
    @precondition(lambda self: self.world.commands > 40)
    def cancel(self, who: str) -> None:
        self.world.append(who, lambda job: ev.CancelRequested() if job else None, "cancel")

    @rule(who=actors, trouble=troubles)
    @precondition(lambda self: self.world.read().cancel_requested_at)
    def finish(self, who: str, trouble: str) -> None:
        self.world.append(who, _finished, fault=trouble)

    def _say(
        self, who: str, number: int, event: ev.Event, trouble: str, phases: set[Phase]
    ) -> None:
        """What an attempt may say while it is current and in one of these phases."""

        def decide(job: Job | None) -> ev.Event | None:
            if job is None or not is_current(job, number, incarnation(number)):
                return None
            return event if job.attempts[number].phase in phases else None

        self.world.append(who, decide, fault=trouble)

    # The pools ------------------------------------------------------------------------------------

    @rule(who=actors, number=numbers, trouble=troubles)
    def claim(self, who: str, number: int, trouble: str) -> None:
        """Claims may overlap: the one before may have crashed, or only be slow."""

        def decide(job: Job | None) -> ev.Event | None:
            attempt = job.attempts.get(number) if job else None
            wanted = attempt is not None and attempt.is_live and not attempt.instance
            return ev.CreateClaimed(attempt=number) if wanted else None

        cmd_id = self.world.fresh_cmd()
        self.world.append(who, decide, cmd_id, trouble)
        attempt = self.world.read(who).attempts.get(number)
        if attempt is not None and attempt.claim_cmd == cmd_id:
            self.world.calls.append(Call(number, cmd_id))

    @rule(data=st.data(), makes=st.booleans())
    @precondition(lambda self: self.world.calls)
    def call_provider(self, data: st.DataObject, makes: bool) -> None:
        """The provider acts on a call at any later time, whatever became of the caller."""
        call = data.draw(st.sampled_from(self.world.calls))
        if makes and not call.instance:
            self._make(call)
        elif not call.instance:
            self.world.calls.remove(call)

    def _make(self, call: Call) -> None:
        self.world.made += 1
        call.instance = f"i{self.world.made}"
        self.world.machines[call.instance] = call.attempt

    @rule(who=actors, data=st.data(), crashes=st.booleans(), trouble=troubles)
    @precondition(lambda self: any(call.instance for call in self.world.calls))
    def record_machine(self, who: str, data: st.DataObject, crashes: bool, trouble: str) -> None:
        """The outcome is recorded, or the pool dies first and the machine is nobody's."""
        call = data.draw(st.sampled_from([c for c in self.world.calls if c.instance]))
        self.world.calls.remove(call)
        if crashes:
            self.world.crash(who)
        else:
            self._record(who, call.instance, trouble)

    @rule(who=actors)
    def sweep(self, who: str) -> None:
        """What runs and is not in the log is adopted by its attempt, or ended."""
        for instance in list(self.world.machines):
            if not any(call.instance == instance for call in self.world.calls):
                self._record(who, instance, "")

    def _record(self, who: str, instance: str, trouble: str) -> None:
        number = self.world.machines.get(instance)
        if number is None:
            return

        def decide(job: Job | None) -> ev.Event | None:
            attempt = job.attempts.get(number) if job else None
            if job is None or job.closed or attempt is None or attempt.instance:
                return None
            return ev.Created(attempt=number, instance=instance)

        self.world.append(who, decide, fault=trouble)
        if self.world.read(who).attempts[number].instance != instance:
            del self.world.machines[instance]

    @rule(who=actors, number=numbers, trouble=troubles)
    def enrol(self, who: str, number: int, trouble: str) -> None:
        event = ev.Enrolled(attempt=number, user_key=f"U{number}")
        self._say(who, number, event, trouble, {Phase.ORDERED, Phase.BOOTING})

    # The watchdog and the fencer, by their own rules ----------------------------------------------

    @rule(
        who=actors,
        number=numbers,
        kind=st.sampled_from([k for k in watchdog.Kind if k]),
        trouble=troubles,
    )
    def judge(self, who: str, number: int, kind: watchdog.Kind, trouble: str) -> None:
        """The watchdog may be wrong at any moment."""
        verdict = watchdog.Verdict(kind=kind, evidence="x")

        def decide(job: Job | None) -> ev.Event | None:
            return watchdog.entry_of(verdict, job, number, incarnation(number))

        self.world.append(who, decide, fault=trouble)

    @rule(who=actors, number=numbers, crashes=st.booleans(), trouble=troubles)
    def fence(self, who: str, number: int, crashes: bool, trouble: str) -> None:
        attempt = self.world.read(who).attempts.get(number)
        if attempt is None or fencer.step_of(attempt) is not fencer.Step.FENCE:
            return
        self._terminate(attempt)
        if crashes:
            self.world.crash(who)
            return
        self._as_fencer(
            who, "fenced", attempt, lambda job: fencer.fenced_entry(job, attempt), trouble
        )

    @rule(who=actors, number=numbers, trouble=troubles)
    def confirm(self, who: str, number: int, trouble: str) -> None:
        """`gone` is said when nothing is listed; a create under way may still bring a machine."""
        attempt = self.world.read(who).attempts.get(number)
        if attempt is None or fencer.step_of(attempt) is not fencer.Step.CONFIRM:
            return
        if number in self.world.machines.values():
            self._terminate(attempt)
            return
        self._as_fencer(
            who,
            "gone",
            attempt,
            lambda job: fencer.gone_entry(job, attempt, self.world.now_s),
            trouble,
        )

    def _terminate(self, attempt: AttemptState) -> None:
        for instance, number in list(self.world.machines.items()):
            if number == attempt.number:
                del self.world.machines[instance]

    def _as_fencer(
        self, who: str, kind: str, attempt: AttemptState, decide: Decide, trouble: str
    ) -> None:
        self.world.append(who, decide, fencer.cmd_id(kind, attempt), trouble)

    @rule(who=actors)
    def close(self, who: str) -> None:
        self.world.append(who, _closed)

    # The weather ----------------------------------------------------------------------------------

    @rule(who=actors)
    def crash(self, who: str) -> None:
        self.world.crash(who)

    @rule()
    def deliver(self) -> None:
        """What an actor has long given up arrives, and finds that the log has moved on."""
        assert self.world.log.deliver_delayed() == 0

    @rule(who=actors)
    def look(self, who: str) -> None:
        self.world.read(who)

    # What must hold -------------------------------------------------------------------------------

    @invariant()
    def every_actor_sees_the_same_job(self) -> None:
        whole = self.world.refold()
        for name in ACTORS:
            assert self.world.read(name) == whole, f"actors disagree: {name}"

    @invariant()
    def the_log_is_sound(self) -> None:
        entries = self.world.entries()
        check_lineage(entries)
        check_commands(entries)
        job = self.world.read()
        check_money(self.world, job)
        assert faults(job) == []

    def teardown(self) -> None:
        """Left alone, the actors end every machine and close the job."""
        try:
            self._wind_up()
        finally:
            self.world.runner.close()

    def _wind_up(self) -> None:
        self.world.calls.clear()
        self.sweep("a")
        self.world.append("a", lambda job: ev.CancelRequested() if job else None, "cancel")
        self.world.append("a", _finished)
        for number in self.world.read().attempts:
            event = ev.Released(attempt=number, reason="the job is over")
            self.world.append("a", lambda job, n=number, e=event: _if_live(job, n, e))
            for _ in range(2):
                self.fence("b", number, crashes=False, trouble="")
                self.confirm("c", number, trouble="")
        self.close("a")
        assert self.world.machines == {}
        assert self.world.read().closed
        self.the_log_is_sound()


def _finished(job: Job | None) -> ev.Event | None:
    return ev.Finished(outcome="cancelled") if job and not job.outcome else None


def _closed(job: Job | None) -> ev.Event | None:
    if job is None or job.closed or not job.outcome:
        return None
    over = all(attempt.phase is Phase.GONE for attempt in job.attempts.values())
    return ev.Closed() if over else None


def _if_live(job: Job | None, number: int, event: ev.Event) -> ev.Event | None:
    return event if job and job.attempts[number].is_live else None
