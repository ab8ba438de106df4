"""Bad days for a simulated world: one thing after another breaks, and later all of it works again."""

import contextlib
from collections.abc import Awaitable, Callable

import anyio

from sim_agent import Agent
from sim_machines import Machine
from sim_wire import WireBus
from sim_world import JOB, SimWorld, active_machine, finish
from vaultlayer import events as ev
from vaultlayer.errors import BrokerError
from vaultlayer.ids import ActorId, CmdId
from vaultlayer.ledger import Ledger
from vaultlayer_agent import happenings as hp

Day = Callable[[SimWorld], Awaitable[None]]


class Chaos:
    """A hand that breaks one thing at a time, now and then two."""

    def __init__(self, world: SimWorld, *, cancels: bool = False) -> None:
        self.world = world
        self.dice = world.dice
        self.acts: list[Callable[[], None]] = [
            self.kill_machine,
            self.kill_machine,
            self.kill_script,
            self.freeze,
            self.cut_off,
            self.crash_actor,
            self.crash_actor,
            self.bus_outage,
            self.create_fault,
            self.notice,
            self.false_notice,
            self.damage,
            self.jump_clock,
            self.provider_away,
            self.leave_agent,
        ]
        if cancels:
            self.acts.append(self.cancel)

    async def reign(self, for_s: float, every_s: float) -> None:
        """Break things for a while, then mend everything."""
        world = self.world
        world.wire.loss, world.wire.doubling, world.wire.log_faults = 0.03, 0.05, 0.02
        end_s = anyio.current_time() + for_s
        while anyio.current_time() < end_s and not (world.job and world.job.closed):
            await anyio.sleep(self.dice.expovariate(1.0 / every_s))
            act = self.dice.choice(self.acts)
            world.note(f"-- {act.__name__}")
            act()
        world.note("-- all is well again")
        self.mend()

    def mend(self) -> None:
        world = self.world
        world.wire.loss = world.wire.doubling = world.wire.log_faults = 0.0
        world.provider.fault = ""
        for machine in world.machines():
            machine.thaw()
        for agent in world.agents.values():
            agent.bus.is_cut = False
        for process in world.processes.values():
            process.skew_s = 0.0
        world.wire.heal()

    def later(self, pause_s: float, act: Callable[[], None]) -> None:
        async def wait() -> None:
            await anyio.sleep(pause_s)
            act()

        self.world.group.start_soon(wait)

    def some_machine(self) -> Machine | None:
        machines = self.world.machines()
        active = active_machine(self.world)
        if active is not None and self.dice.random() < 0.7:
            return active
        return self.dice.choice(machines) if machines else None

    def agent_of(self, machine: Machine | None) -> Agent | None:
        return self.world.agents.get(machine) if machine else None

    # What breaks ----------------------------------------------------------------------------------

    def kill_machine(self) -> None:
        if machine := self.some_machine():
            stopped = not self.world.manifest.sole and self.dice.random() < 0.5
            machine.end("stopped" if stopped else "gone")

    def kill_script(self) -> None:
        if agent := self.agent_of(active_machine(self.world)):
            agent.end_script(9)

    def leave_agent(self) -> None:
        """The agent is killed; on a rented machine nobody tells."""
        machine = self.some_machine()
        if machine is not None:
            machine.scope.cancel()
            if self.world.manifest.sole:
                machine.end("gone")

    def freeze(self) -> None:
        if machine := self.some_machine():
            machine.freeze()
            self.later(self.dice.uniform(2.0, 120.0), machine.thaw)

    def cut_off(self) -> None:
        agent = self.agent_of(self.some_machine())
        if agent is None:
            return
        bus = agent.bus
        bus.is_cut = True

        def join() -> None:
            bus.is_cut = False
            bus.reconnected()

        self.later(self.dice.uniform(2.0, 120.0), join)

    def crash_actor(self) -> None:
        process = self.dice.choice(list(self.world.processes.values()))
        process.scope.cancel()

    def bus_outage(self) -> None:
        self.world.wire.is_down = True
        self.later(self.dice.choice([2.0, 10.0, 60.0]), self.world.wire.heal)

    def create_fault(self) -> None:
        faults = ["refused", "lost request", "lost answer", "defect", "slow"]
        self.world.provider.fault = self.dice.choice(faults)

    def provider_away(self) -> None:
        self.world.provider.fault = "api down"

        def back() -> None:
            self.world.provider.fault = ""

        self.later(self.dice.uniform(5.0, 60.0), back)

    def notice(self) -> None:
        machine = self.some_machine()
        if machine is not None and (agent := self.agent_of(machine)):
            grace_s = self.dice.uniform(1.0, 30.0)
            agent.tell(hp.Noticed(grace_s=grace_s, source="x"))
            self.later(grace_s, lambda: machine.end("gone"))

    def false_notice(self) -> None:
        if agent := self.agent_of(self.some_machine()):
            agent.tell(hp.Noticed(grace_s=10.0, source="y"))

    def damage(self) -> None:
        job = self.world.job
        good = [c for c in job.checkpoints if not c.rejected] if job else []
        if len(good) > 1:
            self.world.bucket.damaged.add(good[-1].manifest)

    def jump_clock(self) -> None:
        process = self.dice.choice(list(self.world.processes.values()))
        process.skew_s = self.dice.choice([-3600.0, -30.0, 30.0, 3600.0])

    def cancel(self) -> None:
        bus = WireBus(self.world.wire, "person", _open)
        ledger = Ledger(self.world.log_of(bus), actor=ActorId("person"), clock=self.world.now_s)

        async def ask() -> None:
            with contextlib.suppress(BrokerError):
                await ledger.append(JOB, lambda _: ev.CancelRequested(), CmdId("cancel"))

        self.world.group.start_soon(ask)


async def _open() -> None:
    return


def bad_day(*, for_s: float, every_s: float, cancels: bool = False) -> Day:
    """Give a day on which something breaks every so often, and then peace."""

    async def day(world: SimWorld) -> None:
        await Chaos(world, cancels=cancels).reign(for_s, every_s)
        await finish(world)

    return day


async def long_silence(world: SimWorld) -> None:
    """The bus is away for twenty minutes, while the script runs or just after it has ended."""
    await world.until(lambda job: bool(job.head), 600.0)
    await anyio.sleep(world.dice.uniform(0.0, world.total))
    world.wire.is_down = True
    await anyio.sleep(1200.0)
    world.wire.heal()
    await finish(world)
