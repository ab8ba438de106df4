"""A simulated provider as an HTTP server on loopback: its API, its faults, and `/_sim/` for whoever directs.

```text
GET    /_sim/state                     machines, charges, faults met, requests
POST   /_sim/faults                    {"kind": "429", "call": "create", "times": 1}
DELETE /_sim/faults
PATCH  /_sim/knobs                     {"boot_s": 30}
POST   /_sim/machines/<id>/<verb>      interrupt outbid resurrect preempt vanish kill freeze; {"notice_s": 30}
POST   /_sim/advance                   {"s": 60}   virtual time only
```
"""

import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus

import anyio
import msgspec
from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.simulator.clock import VirtualClock
from vaultlayer_actors.simulator.faults import AFTER, BEFORE, Fault, Faults
from vaultlayer_actors.simulator.fleet import Fleet
from vaultlayer_actors.simulator.machine import Knobs, Machine, State
from vaultlayer_actors.simulator.runner import Runner

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
TICK_S = 0.05


class Seen(msgspec.Struct, frozen=True):
    """One request that arrived."""

    call: str
    method: str
    path: str
    body: str
    status: int


class Simulator(ABC):
    """One provider with one account; a subclass speaks the provider's wire format.

    A subclass adds its routes with `self.route(method, path, call, handler)` in its `__init__`.

    Args:
        clock: real or virtual.
        runner: None: machines only pretend to run.
        key: the only API key that is accepted.
    """

    id_of: Callable[[int], str] = staticmethod(str)
    """The provider's kind of machine id, made of a running number."""

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        self.clock = clock or VirtualClock()
        self.key = key
        self.fleet = Fleet(self.clock, runner, new_id=type(self).id_of)
        self.fleet.adorn = self.machine_environment
        self.faults = Faults()
        self.requests: list[Seen] = []
        self.url = ""
        self._app = web.Application()
        self._direct()

    # What a provider's simulator gives -----------------------------------------------------------------

    @abstractmethod
    def is_authorised(self, request: web.Request) -> bool:
        """Whether the request carries the account's key, in the provider's way."""

    @abstractmethod
    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give the provider's own answer for 401, 403, 429, 500, 503."""

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give the answer to `no_capacity`, `balance` or `offer_gone`; None: the handler does it."""
        del fault
        return None

    def interrupt(self, machine_id: str) -> None:
        """Take a machine in the provider's own way."""
        self.fleet.vanish(machine_id)

    def options(self) -> dict[str, object]:
        """Give what the provider's table of the configuration needs to find this simulator."""
        return {"endpoint": self.url, "work_root": "~/workspace"}

    def secrets(self) -> dict[str, str]:
        """Give the fields of the account's key as the driver wants them from the vault."""
        return {"api_key": self.key}

    def word(self, machine: Machine, words: Mapping[State, str | None]) -> str | None:
        """Give the provider's word for a machine's state; `spec["word"]` stands for one that is new."""
        strange = machine.spec.get("word")
        return str(strange) if strange is not None else words[machine.state]

    def machine_environment(self, machine: Machine) -> dict[str, str]:
        """Give what the provider itself puts into the environment of a machine."""
        del machine
        return {}

    def route(self, method: str, path: str, call: str, handler: Handler) -> None:
        """Serve one call of the provider's API."""

        async def serve(request: web.Request) -> web.StreamResponse:
            body = (await request.read()).decode(errors="replace")
            answer = await self._answer(request, call, handler)
            self.requests.append(Seen(call, request.method, request.path_qs, body, answer.status))
            return answer

        self._app.router.add_route(method, path, serve)

    def route_openly(self, path: str, handler: Handler) -> None:
        """Serve what asks for no key and is no call of the API: metadata of a machine."""
        self._app.router.add_route("*", path, handler)

    # Serving --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def serve(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator[str]:
        """Serve on loopback while the context is open; gives the base URL."""
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls)
        await site.start()
        bound = runner.addresses[0][1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{bound}"
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(self._tick)
                yield self.url
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await runner.cleanup()
                self.fleet.close()

    async def _tick(self) -> None:
        while True:
            await anyio.sleep(TICK_S)
            self.fleet.tick()

    async def _answer(
        self, request: web.Request, call: str, handler: Handler
    ) -> web.StreamResponse:
        fault = self.faults.take(call, *BEFORE)
        if fault is not None and (early := self._before(request, fault)):
            return early
        if not self.is_authorised(request):
            return self.failure(401)
        late = self.faults.take(call, *AFTER)
        answer = await handler(request)
        if late is None:
            return answer
        if late.kind == "500_after":
            return self.failure(500, late)
        if late.kind == "garbage_after":
            return web.Response(text="<html>be right back</html>", content_type="text/html")
        if late.kind == "slow":
            await self.clock.sleep(late.value)
            return answer
        return self._drop(request)

    def _before(self, request: web.Request, fault: Fault) -> web.Response | None:
        if fault.kind == "drop":
            return self._drop(request)
        statuses = {"auth": 401, "forbidden": 403}
        if fault.kind in statuses or fault.kind.isdigit():
            return self.failure(statuses.get(fault.kind) or int(fault.kind), fault)
        return self.refusal(fault)

    def _drop(self, request: web.Request) -> web.Response:
        """Cut the connection instead of answering."""
        if request.transport is not None:
            request.transport.abort()
        return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE)

    # Directing ------------------------------------------------------------------------------------------

    def _direct(self) -> None:
        router = self._app.router
        router.add_get("/_sim/state", self._state)
        router.add_post("/_sim/faults", self._add_fault)
        router.add_delete("/_sim/faults", self._clear_faults)
        router.add_patch("/_sim/knobs", self._set_knobs)
        router.add_post("/_sim/machines/{id}/{verb}", self._do)
        router.add_post("/_sim/advance", self._advance)

    async def _state(self, _request: web.Request) -> web.Response:
        self.fleet.tick()
        return as_json(
            {
                "now_s": self.clock.now_s(),
                "machines": list(self.fleet.machines.values()),
                "billed": self.fleet.ledger.billed(),
                "total_usd": self.fleet.ledger.total_usd(self.clock.now_s()),
                "requests": self.requests,
            }
        )

    async def _add_fault(self, request: web.Request) -> web.Response:
        fields = msgspec.json.decode(await request.read(), type=dict[str, object])
        return as_json(self.faults.add(**fields))  # pyright: ignore[reportArgumentType]

    async def _clear_faults(self, _request: web.Request) -> web.Response:
        self.faults.clear()
        return as_json({})

    async def _set_knobs(self, request: web.Request) -> web.Response:
        fields = msgspec.json.decode(await request.read(), type=dict[str, object])
        known = msgspec.to_builtins(self.fleet.knobs)
        self.fleet.knobs = msgspec.convert({**known, **fields}, Knobs)
        return as_json(self.fleet.knobs)

    async def _do(self, request: web.Request) -> web.Response:
        body = await request.read()
        fields = msgspec.json.decode(body, type=dict[str, float]) if body else {}
        detail = self.do(request.match_info["id"], request.match_info["verb"], **fields)
        return as_json({"done": detail})

    def do(self, machine_id: str, verb: str, *, notice_s: float = 0.0) -> str:
        """Do to a machine what a bad day does."""
        if machine_id not in self.fleet.machines:
            raise web.HTTPNotFound(text=f"no machine {machine_id}")
        if verb == "preempt":
            self.fleet.preempt(machine_id, notice_s)
        elif verb == "interrupt":
            self.interrupt(machine_id)
        elif verb in {"outbid", "resurrect", "vanish", "kill", "freeze", "stop", "end"}:
            getattr(self.fleet, verb)(machine_id)
        else:
            raise web.HTTPNotFound(text=f"no verb {verb}")
        return f"{verb} {machine_id}"

    async def _advance(self, request: web.Request) -> web.Response:
        fields = msgspec.json.decode(await request.read(), type=dict[str, float])
        if not isinstance(self.clock, VirtualClock):
            raise web.HTTPConflict(text="this simulation runs in real time")
        self.clock.advance(fields["s"])
        self.fleet.tick()
        return as_json({"now_s": self.clock.now_s()})


def as_json(value: object, status: int = 200) -> web.Response:
    """Give a JSON answer; Structs are allowed."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, content_type="application/json"
    )
