"""Ends machines with our tag that the log does not know as wanted: nothing bills unnoticed.

Only names of our own form are ever touched. The listing is read before the log, so a machine whose order
is just being written down is already known when it is judged.
"""

import anyio

from vaultlayer.driver import Driver, Instance
from vaultlayer.errors import VaultLayerError
from vaultlayer.ids import parse_instance_name
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool import core

SWEEP_S = 60.0
RETRY_S = 5.0
LIST_S = 60.0


class Sweeper:
    """The sweeper of one provider."""

    def __init__(self, context: ActorContext, driver: Driver) -> None:
        self._context = context
        self._driver = driver
        self._logger = context.logger.bind(provider=driver.manifest.name)
        self._sightings: dict[str, int] = {}

    async def run(self) -> None:
        """Sweep at once, then each minute, until cancelled."""
        while True:
            pause_s = SWEEP_S
            try:
                await self.sweep()
            except VaultLayerError as error:
                self._logger.warning("sweep_failed", code=error.code, why=str(error))
                pause_s = RETRY_S
            except TimeoutError:
                self._logger.warning("sweep_failed", code="timeout", why="no listing in time")
            except Exception:  # a driver's defect must not end the sweeps
                self._logger.exception("sweep_failed", code="internal")
            await anyio.sleep(pause_s)

    async def sweep(self) -> list[str]:
        """Look once; give the machines that were ended.

        A machine is ended when it was seen unwanted as often as the provider needs for a verdict
        (`absent_checks`), so that one wrong reading of a listing or of the log ends nothing.

        Raises:
            VaultLayerError: the provider or the log cannot be asked now.
        """
        with anyio.fail_after(LIST_S):
            listed = await self._driver.list()
        sightings: dict[str, int] = {}
        ended: list[str] = []
        for found in listed:
            reason = await self._reason(found)
            if not reason:
                continue
            count = self._sightings.get(found.instance, 0) + 1
            sightings[found.instance] = count
            if count >= self._driver.manifest.absent_checks and await self._end(found, reason):
                ended.append(found.instance)
        self._sightings = sightings
        return ended

    async def _reason(self, found: Instance) -> str:
        name = parse_instance_name(found.name)
        if name is None or found.state == "gone":
            return ""
        job = await self._context.ledger.read(name[0])
        return core.unwanted(job, name[1], found, self._driver.manifest.name)

    async def _end(self, found: Instance, reason: str) -> bool:
        try:
            await self._driver.terminate(found.instance)
        except VaultLayerError as error:
            self._logger.warning(
                "orphan_resists", instance=found.instance, code=error.code, why=str(error)
            )
            return False
        self._logger.warning(
            "orphan_ended", instance=found.instance, name=found.name, reason=reason
        )
        return True
