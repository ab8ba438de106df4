"""Carries out orders: claim in the log, call the provider, write down what came of it.

Whatever breaks off in between is healed by whoever sees the claim past its time: it looks for the machine by
name, adopts it or goes on. So each order has one machine, or a reason why not.
"""

import secrets

import anyio
from anyio import CancelScope

from vaultlayer import __version__, subjects
from vaultlayer.driver import BootPayload, Driver, Instance, Order
from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import (
    AmbiguousCreateError,
    BrokerDownError,
    CapacityError,
    DriverError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, CmdId, JobId, instance_name, token
from vaultlayer.job import AttemptState, Job
from vaultlayer.messages import EnrolCredential, EnrolCredentialRequest
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool import core
from vaultlayer_actors.provider_pool.core import Step

VAULT_S = 5.0
LOOKS_LEAST = 2
"""How often a machine that may or may not have been made is looked for."""
LOOK_GAP_LEAST_S = 0.2


class Orders:
    """The open creates of one pool process."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._logger = context.logger
        self._seen: dict[tuple[JobId, int], tuple[str, float]] = {}
        """Newest claim of each open create, and when this process first saw it by its steady clock."""

    async def serve(self, job: Job, attempt: AttemptState, driver: Driver) -> float | None:
        """Do what one attempt needs; give the Unix time at which to look again, or None.

        Raises:
            VaultLayerError: it broke off; a later call looks first and goes on.
        """
        age_s = self._claim_age_s(job, attempt)
        step = core.step_of(job, attempt, me=self._context.actor, claim_age_s=age_s)
        if step is Step.WAIT:
            return self._context.now_s() + attempt.claim_s - age_s
        if step is Step.REFUSE:
            await self._fail(job, attempt, driver, code="unwanted", reason="not wanted any more")
        elif step is Step.GO_ON:
            await self._make(job, attempt, driver, attempt.claim_cmd, look_first=True)
        elif step is not Step.NONE:
            await self._claim(job, attempt, driver, look_first=step is Step.TAKE_OVER)
        return None

    def forget(self, job: JobId) -> None:
        """Drop what is known of a job that is over."""
        for key in [key for key in self._seen if key[0] == job]:
            del self._seen[key]

    def _claim_age_s(self, job: Job, attempt: AttemptState) -> float:
        key = (JobId(job.job), attempt.number)
        if not core.is_open(attempt):
            self._seen.pop(key, None)
            return 0.0
        now_s = self._context.mono_s()
        known = self._seen.get(key)
        if known is None or known[0] != attempt.claim_cmd:
            known = self._seen[key] = (attempt.claim_cmd, now_s)
        return now_s - known[1]

    async def _claim(
        self, job: Job, attempt: AttemptState, driver: Driver, *, look_first: bool
    ) -> None:
        cmd = CmdId(f"claim-{attempt.number}-{token(secrets.token_bytes(10), 10)}")
        appended = await self._context.ledger.append(
            JobId(job.job), lambda newest: core.claim(newest, attempt, driver.manifest), cmd
        )
        mine = core.is_mine(appended.job, attempt.number, cmd)
        if appended.job is not None and mine is not None:
            await self._make(appended.job, mine, driver, cmd, look_first=look_first)

    async def _make(
        self, job: Job, attempt: AttemptState, driver: Driver, claim: str, *, look_first: bool
    ) -> None:
        """Make the machine of an order whose claim is ours, or find the one that was made."""
        name = instance_name(JobId(job.job), Attempt(attempt.number))
        if look_first and (found := core.named(await driver.list(), name)):
            await self._created(job, attempt, driver, found, adopted=True)
            return
        if attempt.user_key:
            # It has spoken, so it is there; another one must not be made.
            raise DriverError(f"{name} is not listed yet", retryable=True)
        if not core.is_wanted(job, attempt):
            await self._fail(job, attempt, driver, code="unwanted", reason="not wanted any more")
            return
        answer_by_s = self._context.mono_s() + core.ANSWER_SHARE * driver.manifest.create_s
        order = await self._order(job, attempt, driver, name)
        newest = await self._context.ledger.read(JobId(job.job))
        mine = core.is_mine(newest, attempt.number, claim)
        if newest is None or mine is None or mine.user_key:
            return
        if not core.is_wanted(newest, mine):
            await self._fail(job, attempt, driver, code="unwanted", reason="not wanted any more")
            return
        await self._call(job, attempt, driver, order, answer_by_s - self._context.mono_s())

    async def _order(self, job: Job, attempt: AttemptState, driver: Driver, name: str) -> Order:
        enrol = await self._context.bus.request(
            subjects.vault("enrol_credential"),
            EnrolCredentialRequest(job=job.job, attempt=attempt.number),
            EnrolCredential,
            timeout_s=VAULT_S,
        )
        root = driver.manifest.work_root.rstrip("/")
        boot = BootPayload(
            job=job.job,
            attempt=attempt.number,
            incarnation=attempt.incarnation,
            provider=attempt.provider,
            bus_urls=enrol.bus_urls or self._bus_urls(),
            enrol_jwt=enrol.user_jwt,
            enrol_seed=enrol.seed,
            work_path=attempt.work_path or f"{root}/{job.job}",
            version=__version__,
        )
        return Order(
            name=name,
            offer=attempt.offer,
            boot=boot,
            image=job.spec.image,
            wheels_url=enrol.wheels_url,
        )

    def _bus_urls(self) -> list[str]:
        bus = self._context.settings.bus
        if bus.public_urls or bus.urls:
            return list(bus.public_urls or bus.urls)
        endpoints = read_endpoints(self._context.home.run)
        if endpoints is None:
            raise BrokerDownError(
                "a machine cannot be told where the bus is", mend="set [bus] public_urls"
            )
        return [endpoints.bus_url]

    async def _call(
        self, job: Job, attempt: AttemptState, driver: Driver, order: Order, answer_s: float
    ) -> None:
        """Call the provider once; whatever it says, the log learns what is true afterwards."""
        try:
            with anyio.fail_after(max(0.0, answer_s)):
                made = await driver.create(order)
        except AmbiguousCreateError as error:
            await self._resolve(job, attempt, driver, order.name, error)
        except TimeoutError:
            why = DriverError(f"{attempt.provider} did not answer in time")
            await self._resolve(job, attempt, driver, order.name, why)
        except DriverError as error:
            cooldown_s = driver.manifest.cooldown_s * (1 if isinstance(error, CapacityError) else 2)
            reason = f"{error.what}: {error.why}" if error.why else error.what
            await self._fail(
                job, attempt, driver, code=error.code, reason=reason, cooldown_s=cooldown_s
            )
        except (
            Exception
        ):  # a driver's defect says nothing about the machine, and must not stop the pool
            self._logger.exception("driver_failed", job=job.job, attempt=attempt.number)
            why = DriverError(f"the driver of {attempt.provider} has a defect")
            await self._resolve(job, attempt, driver, order.name, why)
        else:
            # The machine exists: say so even when this process is being stopped.
            with CancelScope(shield=True), anyio.move_on_after(VAULT_S):
                await self._created(job, attempt, driver, made, adopted=False)

    async def _resolve(
        self, job: Job, attempt: AttemptState, driver: Driver, name: str, error: VaultLayerError
    ) -> None:
        """Look for a machine that may or may not have been made, as long as listings may lag."""
        manifest = driver.manifest
        for look in range(max(LOOKS_LEAST, manifest.absent_checks)):
            if look:
                await anyio.sleep(max(LOOK_GAP_LEAST_S, manifest.absent_gap_s))
            if found := core.named(await driver.list(), name):
                await self._created(job, attempt, driver, found, adopted=True)
                return
        # One that comes to light still later is the sweeper's.
        await self._fail(
            job,
            attempt,
            driver,
            code=error.code,
            reason=f"{error.what}; no machine of its name is listed",
            cooldown_s=2 * manifest.cooldown_s,
        )

    async def _created(
        self, job: Job, attempt: AttemptState, driver: Driver, made: Instance, *, adopted: bool
    ) -> None:
        appended = await self._context.ledger.append(
            JobId(job.job),
            lambda newest: core.created(newest, attempt.number, made, adopted=adopted),
            CmdId(f"created-{attempt.number}-{attempt.incarnation}-{made.instance}"),
        )
        self._logger.info(
            "machine_created", job=job.job, attempt=attempt.number, instance=made.instance
        )
        if core.is_surplus(appended.job, attempt.number, made):
            self._logger.warning(
                "machine_surplus", job=job.job, attempt=attempt.number, instance=made.instance
            )
            await driver.terminate(made.instance)

    async def _fail(
        self,
        job: Job,
        attempt: AttemptState,
        driver: Driver,
        *,
        code: str,
        reason: str,
        cooldown_s: float = 0.0,
    ) -> None:
        appended = await self._context.ledger.append(
            JobId(job.job),
            lambda newest: core.create_failed(
                newest, attempt.number, code=code, reason=reason, cooldown_s=cooldown_s
            ),
            CmdId(f"create-failed-{attempt.number}-{attempt.incarnation}"),
        )
        if appended.event is None:
            return
        self._logger.info(
            "create_failed",
            job=job.job,
            attempt=attempt.number,
            provider=driver.manifest.name,
            code=code,
            why=reason,
        )
