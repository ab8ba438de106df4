"""Answers what other actors ask of one provider: offers, a look at a machine, its end, its absence."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager

import anyio
import msgspec

from vaultlayer import subjects
from vaultlayer.driver import Driver, Need, OfferList
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.messages import (
    AbsentReply,
    AccountReply,
    AuditReply,
    CheckReply,
    Done,
    ProbeReply,
    ProbeRequest,
    TerminateRequest,
)
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.provider_pool import core
from vaultlayer_actors.provider_pool.audit import audit
from vaultlayer_actors.provider_pool.catalogue import Catalogue
from vaultlayer_actors.provider_pool.examine import account_of, examine


class Services:
    """The services of one provider in this process; all processes of a provider share the requests."""

    def __init__(self, context: ActorContext, driver: Driver) -> None:
        self._context = context
        self._driver = driver
        self._provider = driver.manifest.name

    @asynccontextmanager
    async def serve(self) -> AsyncGenerator[None]:
        """Answer while the context is open."""
        handlers = {
            "offers": self._offers,
            "audit": self._audit,
            "account": self._account,
            "check": self._check,
            "probe": self._probe,
            "terminate": self._terminate,
            "absent": self._absent,
        }
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(anyio.create_task_group())
            stack.callback(group.cancel_scope.cancel)
            self._catalogue = Catalogue(
                self._driver,
                mono_s=self._context.mono_s,
                group=group,
                logger=self._context.logger,
            )
            for verb, handler in handlers.items():
                subject = subjects.pool(self._provider, verb)
                queue = f"pool-{self._provider}"
                await stack.enter_async_context(
                    self._context.bus.serve(subject, handler, queue=queue)
                )
            yield

    async def _offers(self, _subject: str, payload: bytes) -> OfferList:
        found = await self._catalogue.of(msgspec.json.decode(payload, type=Need))
        return msgspec.structs.replace(found, manifest=self._driver.manifest)

    async def _audit(self, _subject: str, _payload: bytes) -> AuditReply:
        """List every machine with our tag, and what the log knows of it."""
        return await audit(self._driver, self._context.ledger)

    async def _account(self, _subject: str, _payload: bytes) -> AccountReply:
        return AccountReply(provider=self._provider, account=await account_of(self._driver))

    async def _check(self, _subject: str, _payload: bytes) -> CheckReply:
        """Ask the provider all that can be asked without making a machine."""
        return CheckReply(provider=self._provider, rows=await examine(self._driver))

    async def _probe(self, _subject: str, payload: bytes) -> ProbeReply:
        request = msgspec.json.decode(payload, type=ProbeRequest)
        seen = await self._driver.get(request.instance)
        return ProbeReply(instance=seen, vanished=seen.state in core.VANISHED)

    async def _terminate(self, _subject: str, payload: bytes) -> Done:
        """End the attempt's machine, and any other that carries its name."""
        request = msgspec.json.decode(payload, type=TerminateRequest)
        for instance in await self._machines(request):
            await self._driver.terminate(instance)
        return Done()

    async def _absent(self, _subject: str, payload: bytes) -> AbsentReply:
        """Look as often, and as far apart, as the provider needs; one sighting is enough to deny."""
        request = msgspec.json.decode(payload, type=TerminateRequest)
        manifest = self._driver.manifest
        for look in range(manifest.absent_checks):
            if look:
                await anyio.sleep(manifest.absent_gap_s)
            for instance in await self._machines(request):
                seen = await self._driver.get(instance)
                if seen.state != "gone":
                    detail = f"{instance} is {seen.state} {seen.detail}".strip()
                    return AbsentReply(absent=False, detail=detail)
        return AbsentReply(absent=True)

    async def _machines(self, request: TerminateRequest) -> list[str]:
        """Give the ids that the attempt's machine has in the log and in the provider's listing."""
        name = instance_name(JobId(request.job), Attempt(request.attempt))
        listed = [
            one.instance
            for one in await self._driver.list()
            if one.name == name and one.state != "gone"
        ]
        return list(dict.fromkeys([*([request.instance] if request.instance else []), *listed]))
