"""Lists the machines of one provider again and again, and says when one that should run has vanished.

This is the second witness beside the heartbeats: what the provider itself calls gone or stopped is lost at
once, whatever the lease says.
"""

from collections.abc import Sequence

import anyio
import msgspec

from vaultlayer.driver import Driver, Instance
from vaultlayer.errors import VaultLayerError
from vaultlayer.ids import CmdId, JobId, parse_instance_name
from vaultlayer.job import AttemptState
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool import core

LIST_S = 60.0
PAUSE_S_MAX = 60.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """One machine under watch."""

    job: JobId
    attempt: int
    instance: str
    since_s: float
    was_listed: bool = False


class Watch:
    """The machines of one provider that this process looks after."""

    def __init__(self, context: ActorContext, driver: Driver) -> None:
        self._context = context
        self._driver = driver
        self._logger = context.logger.bind(provider=driver.manifest.name)
        self._machines: dict[tuple[JobId, int], Machine] = {}

    async def run(self) -> None:
        """Poll until cancelled; a provider that fails is asked less and less often."""
        failures = 0
        while True:
            failures = 0 if await self._poll_safely() else failures + 1
            poll_s = self._driver.manifest.poll_s
            await anyio.sleep(min(poll_s * 2 ** min(failures, 10), max(poll_s, PAUSE_S_MAX)))

    def note(self, job: JobId, attempt: AttemptState) -> None:
        """Take an attempt under watch when the log counts on its machine, and from it when not."""
        key = (job, attempt.number)
        if not core.should_run(attempt):
            self._machines.pop(key, None)
            return
        known = self._machines.get(key)
        if known is None or known.instance != attempt.instance:
            self._machines[key] = Machine(
                job=job,
                attempt=attempt.number,
                instance=attempt.instance,
                since_s=self._context.mono_s(),
            )

    async def poll(self) -> None:
        """List once and judge what is missing.

        Raises:
            VaultLayerError: the provider or the log cannot be asked now.
        """
        with anyio.fail_after(LIST_S):
            listed = await self._driver.list()
        self._take_up(listed)
        by_id = {one.instance: one for one in listed}
        now_s = self._context.mono_s()
        for key, machine in list(self._machines.items()):
            seen = by_id.get(machine.instance)
            if seen is not None and seen.is_alive:
                self._machines[key] = msgspec.structs.replace(machine, was_listed=True)
            elif core.must_ask(
                listed=seen,
                was_listed=machine.was_listed,
                known_for_s=now_s - machine.since_s,
                manifest=self._driver.manifest,
            ):
                await self._judge(key, machine)

    def _take_up(self, listed: Sequence[Instance]) -> None:
        """Watch every listed machine: the process that handled its job may be gone tomorrow."""
        for one in listed:
            name = parse_instance_name(one.name)
            if name is not None and name not in self._machines and one.is_alive:
                self._machines[name] = Machine(
                    job=name[0],
                    attempt=name[1],
                    instance=one.instance,
                    since_s=self._context.mono_s(),
                    was_listed=True,
                )

    async def _judge(self, key: tuple[JobId, int], machine: Machine) -> None:
        seen = await self._driver.get(machine.instance)
        if seen.state not in core.VANISHED:
            return
        seen = msgspec.structs.replace(seen, instance=machine.instance)
        appended = await self._context.ledger.append(
            machine.job,
            lambda job: core.lost(job, machine.attempt, seen),
            CmdId(f"lost-{machine.attempt}-{machine.instance}-{seen.state}"),
        )
        if appended.event is not None:
            self._logger.warning(
                "machine_vanished", job=machine.job, attempt=machine.attempt, state=seen.state
            )
        attempt = appended.job.attempts.get(machine.attempt) if appended.job else None
        # Its `created` may not be in the log yet: then it stays under watch.
        if attempt is None or not core.is_open(attempt):
            self._machines.pop(key, None)

    async def _poll_safely(self) -> bool:
        try:
            await self.poll()
        except VaultLayerError as error:
            self._logger.warning("poll_failed", code=error.code, why=str(error))
        except TimeoutError:
            self._logger.warning("poll_failed", code="timeout", why=f"no listing in {LIST_S:g} s")
        except Exception:  # a driver's defect must not end the watch over its machines
            self._logger.exception("poll_failed", code="internal")
        else:
            return True
        return False
