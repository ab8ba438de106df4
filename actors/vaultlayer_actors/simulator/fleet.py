"""The machines of a simulated account: their lives in simulated time, what is billed, and bad luck."""

import itertools
from collections.abc import Callable

from vaultlayer.driver import Clock
from vaultlayer_actors.simulator.billing import Ledger
from vaultlayer_actors.simulator.hardware import environment_of
from vaultlayer_actors.simulator.machine import Knobs, Machine, State
from vaultlayer_actors.simulator.runner import Runner


class Fleet:
    """All machines that were ever made in one account.

    Args:
        clock: simulated or real seconds.
        runner: runs what the machines are told to run; None: they only pretend.
        new_id: makes the provider's kind of id from a running number.
    """

    def __init__(
        self, clock: Clock, runner: Runner | None = None, *, new_id: Callable[[int], str] = str
    ) -> None:
        self.clock = clock
        self.knobs = Knobs()
        self.ledger = Ledger()
        self.machines: dict[str, Machine] = {}
        self._runner = runner
        self._new_id = new_id
        self._numbers = itertools.count(1_000_001)
        self.adorn: Callable[[Machine], dict[str, str]] = lambda _machine: {}
        """What the provider itself puts into a machine's environment."""
        self.is_vm = False
        """A VM is up until its power goes, whatever has become of what it was told to run."""

    def now_s(self) -> float:
        """Give simulated seconds."""
        return self.clock.now_s()

    # What a provider's API does -----------------------------------------------------------------------

    def make(
        self, name: str, price_usd_h: float, *, machine_id: str = "", **fields: object
    ) -> Machine:
        """Make a machine; it boots from now on. Without an id of its own it gets one from its number."""
        machine_id = machine_id or self._new_id(next(self._numbers))
        machine = Machine(
            id=machine_id,
            name=name,
            price_usd_h=price_usd_h * self.knobs.price_factor,
            created_s=self.now_s(),
            **fields,  # pyright: ignore[reportArgumentType]
        )
        self.machines[machine_id] = machine
        self.tick()
        return machine

    def seen(self, machine_id: str) -> Machine | None:
        """Give what a look at one machine finds; None where the provider says that there is none."""
        self.tick()
        machine = self.machines.get(machine_id)
        if machine is None or self._age_s(machine) < self.knobs.get_lag_s:
            return None
        return None if self._is_forgotten(machine) else machine

    def listed(self) -> list[Machine]:
        """Give what a listing shows now."""
        self.tick()
        return [
            machine
            for machine in self.machines.values()
            if self._age_s(machine) >= self.knobs.listing_lag_s and not self._is_forgotten(machine)
        ]

    def end(self, machine_id: str) -> None:
        """Terminate: it is gone after `end_s`."""
        machine = self.machines[machine_id]
        if machine.state in {State.GONE, State.ENDING}:
            return
        machine.intended, machine.reason = State.GONE, ""
        machine.state, machine.ends_s = State.ENDING, self.now_s() + self.knobs.end_s
        self.tick()

    def stop(self, machine_id: str) -> None:
        """Halt it as its owner asks; its disk stays and is billed."""
        self.machines[machine_id].intended = State.STOPPED
        self._halt(self.machines[machine_id], State.STOPPED, "stopped by its owner")

    # What a bad day does ------------------------------------------------------------------------------

    def outbid(self, machine_id: str) -> None:
        """Halt it without a word: it is listed, its disk is billed, and it may come back."""
        self._halt(self.machines[machine_id], State.STOPPED, "outbid")

    def resurrect(self, machine_id: str) -> None:
        """Start a halted machine anew, with its old disk and its old environment."""
        machine = self.machines[machine_id]
        if machine.state in {State.STOPPED, State.EXITED}:
            machine.intended, machine.exit_status = State.RUNNING, None
            self._run(machine)

    def preempt(self, machine_id: str, notice_s: float, *, has_signal: bool = True) -> None:
        """Take it after a notice: its metadata tell, SIGTERM may be sent, then it is gone."""
        machine = self.machines[machine_id]
        machine.notice_s = machine.ends_s = self.now_s() + notice_s
        machine.reason = "preempted"
        if notice_s > 0 and has_signal and self._runner is not None:
            self._runner.terminate(machine_id)
        self.tick()

    def vanish(self, machine_id: str) -> None:
        """Let it be gone at once."""
        self._finish(self.machines[machine_id], "vanished")

    def kill(self, machine_id: str) -> None:
        """Let all processes die; the provider notices that what it ran has ended."""
        self._halt(self.machines[machine_id], State.EXITED, "killed", keeps_billing=True)

    def freeze(self, machine_id: str) -> None:
        """Stop its time; the provider notices nothing."""
        if self._runner is not None:
            self._runner.freeze(machine_id)

    # Time -----------------------------------------------------------------------------------------------

    def tick(self) -> None:
        """Do all that time has brought."""
        now_s = self.now_s()
        for machine in self.machines.values():
            if machine.ends_s is not None and now_s >= machine.ends_s:
                self._finish(machine, machine.reason or "terminated")
            elif machine.state is State.BOOTING and not self.knobs.never_boots:
                if now_s - machine.created_s >= self.knobs.boot_s:
                    self._run(machine)
            elif self.is_vm:
                self._look_at_power(machine)
            elif machine.state is State.RUNNING and self._runner is not None:
                status = self._runner.exit_status(machine.id)
                if status is not None:
                    machine.exit_status = status
                    self._halt(machine, State.EXITED, f"ended with {status}", keeps_billing=True)

    def close(self) -> None:
        """End every process."""
        if self._runner is not None:
            self._runner.kill_everything()

    def _run(self, machine: Machine) -> None:
        machine.state, machine.running_s = State.RUNNING, self.now_s()
        self.ledger.bill(machine.id, machine.price_usd_h, self.now_s())
        if self._runner is not None and machine.script:
            self._runner.start(
                machine.id,
                machine.script,
                {
                    **machine.env,
                    **environment_of(machine, self.knobs),
                    **self.adorn(machine),
                },
            )

    def _look_at_power(self, machine: Machine) -> None:
        is_up = machine.state is State.RUNNING and self._runner is not None
        if not is_up or self._runner is None or not self._runner.is_off(machine.id):
            return
        if machine.off_ends:
            self._finish(machine, "powered off")
        else:
            self._halt(machine, State.STOPPED, "powered off")

    def _halt(
        self, machine: Machine, state: State, reason: str, *, keeps_billing: bool = False
    ) -> None:
        if self._runner is not None:
            self._runner.kill(machine.id)
        machine.state, machine.reason = state, reason
        if not keeps_billing:
            self.ledger.bill(machine.id, machine.stopped_usd_h, self.now_s())

    def _finish(self, machine: Machine, reason: str) -> None:
        if self._runner is not None:
            self._runner.wipe(machine.id)
        ended_s = machine.ends_s if machine.ends_s is not None else self.now_s()
        machine.state, machine.ends_s, machine.reason = State.GONE, None, reason
        machine.gone_s = min(ended_s, self.now_s())
        self.ledger.bill(machine.id, 0.0, machine.gone_s)

    def _age_s(self, machine: Machine) -> float:
        return self.now_s() - machine.created_s

    def _is_forgotten(self, machine: Machine) -> bool:
        gone_s = machine.gone_s
        return gone_s is not None and self.now_s() - gone_s >= self.knobs.gone_kept_s
