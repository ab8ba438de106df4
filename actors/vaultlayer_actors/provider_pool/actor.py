"""The provider pool's process: one driver a provider, its services, its watch and its sweeper.

Several processes per provider at once are normal. What they may not do twice is decided by
compare-and-swap in the job's log; everything else may happen twice.
"""

import secrets
from collections.abc import Coroutine
from typing import Any

import anyio
import msgspec

from vaultlayer import sealing, subjects
from vaultlayer.driver import Driver, DriverType, OfferList
from vaultlayer.errors import (
    BrokerDownError,
    BusTimeoutError,
    ConfigError,
    DrillError,
    VaultLayerError,
)
from vaultlayer.ids import CmdId, JobId
from vaultlayer.job import AttemptState, Job
from vaultlayer.messages import ProviderSecrets, ProviderSecretsRequest, Sealed
from vaultlayer_actors.context import Actor, ActorContext
from vaultlayer_actors.drivers import build_driver, find_driver
from vaultlayer_actors.jobloop import JobLoop
from vaultlayer_actors.provider_pool import core
from vaultlayer_actors.provider_pool.orders import Orders
from vaultlayer_actors.provider_pool.services import Services
from vaultlayer_actors.provider_pool.sweep import Sweeper
from vaultlayer_actors.provider_pool.watch import Watch

VAULT_S = 5.0
RETRY_S_MAX = 30.0


class ProviderPool:
    """One of any number of pool processes; serves every provider that the settings allow."""

    kind = "provider_pool"

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._logger = context.logger
        self._drivers: dict[str, Driver] = {}
        self._watches: dict[str, Watch] = {}
        self._orders = Orders(context)
        self._loop = JobLoop(context)
        self._unheard = set(context.settings.allowed)

    async def run(self) -> None:
        """Serve until cancelled."""
        self._hear_of("")
        try:
            async with anyio.create_task_group() as group:
                for provider in self._context.settings.allowed:
                    group.start_soon(self._serve, provider)
                await self._loop.run(self._handle)
        finally:
            with anyio.move_on_after(VAULT_S, shield=True):
                for driver in self._drivers.values():
                    await driver.close()

    def _hear_of(self, provider: str) -> None:
        """Note that a provider is served, or that it cannot be; tell it when that is known of all."""
        self._unheard.discard(provider)
        if not self._unheard:
            self._context.served()

    # One provider ---------------------------------------------------------------------------------

    async def _serve(self, provider: str) -> None:
        """Serve one provider, and start anew whenever its keys have changed."""
        while True:
            async with (
                self._context.bus.subscribe(subjects.pool(provider, "rekeyed")) as changes,
                anyio.create_task_group() as group,
            ):
                group.start_soon(self._serve_once, provider)
                await anext(changes)
                self._logger.info("provider_rekeyed", provider=provider)
                group.cancel_scope.cancel()
            await self._put_down(provider)

    async def _put_down(self, provider: str) -> None:
        self._watches.pop(provider, None)
        driver = self._drivers.pop(provider, None)
        if driver is not None:
            with anyio.move_on_after(VAULT_S, shield=True):
                await driver.close()

    async def _serve_once(self, provider: str) -> None:
        try:
            kind = find_driver(provider)
            driver = await self._build(provider, kind)
        except ConfigError as error:
            # The others go on; whoever asks this one is told why it offers nothing.
            self._logger.warning("provider_unusable", provider=provider, why=str(error))
            await self._refuse(provider, error)
            return
        watch = Watch(self._context, driver)
        self._drivers[provider], self._watches[provider] = driver, watch
        async with Services(self._context, driver).serve(), anyio.create_task_group() as group:
            self._logger.info("provider_served", provider=provider)
            self._hear_of(provider)
            group.start_soon(watch.run)
            group.start_soon(Sweeper(self._context, driver).run)
            await self._look_at_all()

    async def _build(self, provider: str, kind: DriverType) -> Driver:
        values = await self._keys(provider) if kind.manifest.needs_keys else {}
        return build_driver(
            kind,
            options=self._context.settings.providers[provider],
            secrets=values,
            state_path=self._context.home.drivers / provider,
        )

    async def _keys(self, provider: str) -> dict[str, str]:
        """Get the provider's API keys from the vault, sealed to a key that lives for this one reply."""
        failures = 0
        while True:
            private = secrets.token_bytes(sealing.KEY_B)
            request = ProviderSecretsRequest(provider=provider, seal_key=sealing.public_of(private))
            try:
                sealed = await self._context.bus.request(
                    subjects.vault("provider_secrets"), request, Sealed, timeout_s=VAULT_S
                )
                plain = sealing.unseal(private, sealed.box)
                return msgspec.json.decode(plain, type=ProviderSecrets).values
            except VaultLayerError as error:
                failures += 1
                self._logger.warning("keys_missing", provider=provider, code=error.code)
                # A vault that is only just starting has not answered yet.
                if not isinstance(error, BrokerDownError | BusTimeoutError):
                    self._hear_of(provider)
                await anyio.sleep(min(0.2 * 2**failures, RETRY_S_MAX))

    async def _refuse(self, provider: str, error: ConfigError) -> None:
        async def offers(_subject: str, _payload: bytes) -> OfferList:
            why = f" ({error.why})" if error.why else ""
            return OfferList(provider=provider, refusal=f"{error.what}{why}")

        subject = subjects.pool(provider, "offers")
        async with self._context.bus.serve(subject, offers, queue=f"pool-{provider}"):
            self._hear_of(provider)
            await anyio.sleep_forever()

    async def _look_at_all(self) -> None:
        """Jobs that changed before this driver was there were passed over: look at them now."""
        while True:
            try:
                for job in await self._context.ledger.open_jobs():
                    self._loop.poke(job)
            except VaultLayerError as error:
                self._logger.info("log_unread", code=error.code)
                await anyio.sleep(1.0)
            else:
                return

    # One job --------------------------------------------------------------------------------------

    async def _handle(self, job_id: JobId) -> float | None:
        job = await self._context.ledger.read(job_id)
        if job is None:
            return None
        if job.closed:
            self._orders.forget(job_id)
        wakes: list[float] = []
        errors: list[VaultLayerError] = []

        async def do(work: Coroutine[Any, Any, float | None]) -> None:
            try:
                wake_at = await work
            except VaultLayerError as error:
                errors.append(error)
            else:
                wakes.extend([wake_at] if wake_at is not None else [])

        # A provider that is slow or fails must not keep the job from its machines elsewhere.
        async with anyio.create_task_group() as group:
            group.start_soon(do, self._drill(job))
            for attempt in job.attempts.values():
                if attempt.provider in self._drivers:
                    group.start_soon(do, self._serve_attempt(job, attempt))
        if errors:
            raise errors[0]
        return min(wakes, default=None)

    async def _serve_attempt(self, job: Job, attempt: AttemptState) -> float | None:
        job_id = JobId(job.job)
        driver = self._drivers.get(attempt.provider)
        if driver is None:
            return None  # it is being built anew with other keys, and then looks at all jobs
        wake_at = await self._orders.serve(job, attempt, driver)
        newest = self._context.ledger.peek(job_id) or job
        watch = self._watches.get(attempt.provider)
        if watch is not None and attempt.number in newest.attempts:
            watch.note(job_id, newest.attempts[attempt.number])
        return wake_at

    async def _drill(self, job: Job) -> None:
        manifests = {name: driver.manifest for name, driver in self._drivers.items()}
        refusal = core.drill_refusal(job, manifests)
        if refusal is None:
            return
        attempt = job.attempts[job.drill_attempt]
        detail = f"refused: {refusal}"
        if not refusal:
            driver = self._drivers[attempt.provider]
            try:
                detail = await driver.drill(attempt.instance, job.drill, job.drill_grace_s)
            except DrillError as error:
                detail = f"refused: {error.why or error.what}"
        await self._context.ledger.append(
            JobId(job.job),
            lambda newest: core.drilled(newest, job, detail),
            CmdId(f"drilled-{attempt.number}-{job.drill}-{job.seq}"),
        )
        self._logger.info("drilled", job=job.job, attempt=attempt.number, detail=detail)


def build(context: ActorContext) -> Actor:
    """Make a pool process's actor."""
    return ProviderPool(context)
