"""Acme GPU on loopback: its four calls, its errors, and machines that are real processes."""

import json

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "creating",
    State.RUNNING: "up",
    State.STOPPED: "lost",
    State.EXITED: "lost",
    State.FAILED: "lost",
    State.ENDING: "ending",
    State.GONE: None,
}

TYPES = [
    {"type": "g1", "gpu": "RTX 4090", "count": 1, "memory_gb": 24, "usd_h": 0.5, "zone": "moon", "free": 9},
    {"type": "g1", "gpu": "RTX 4090", "count": 1, "memory_gb": 24, "usd_h": 0.6, "zone": "mars", "free": 9},
    {"type": "g2", "gpu": "L4", "count": 1, "memory_gb": 24, "usd_h": 0.3, "zone": "moon", "free": 9},
]  # fmt: skip

PAGE = 50
CODES = {401: "bad_key", 403: "forbidden", 429: "slow_down"}


class AcmeSimulator(Simulator):
    """One account."""

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.fleet.is_vm = True
        self.route("GET", "/v1/types", "offers", self._types)
        self.route("POST", "/v1/machines", "create", self._create)
        self.route("GET", "/v1/machines", "list", self._list)
        self.route("GET", "/v1/machines/{id}", "get", self._get)
        self.route("DELETE", "/v1/machines/{id}", "terminate", self._delete)
        self.route("GET", "/v1/me", "account", self._me)

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the account's key."""
        return request.headers.get("Authorization") == f"Bearer {self.key}"

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Acme's own words for a failure."""
        del fault
        return as_json({"error": CODES.get(status, "oops")}, status)

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Acme's refusals of a create."""
        return as_json({"error": "no_credit" if fault.kind == "balance" else "sold_out"}, 409)

    async def _types(self, _request: web.Request) -> web.Response:
        return as_json({"types": TYPES})

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        chosen = next(
            row for row in TYPES if (row["type"], row["zone"]) == (body["type"], body["zone"])
        )
        machine = self.fleet.make(
            str(body["name"]), float(chosen["usd_h"]), script=str(body["boot_script"])
        )
        return as_json(self._row(machine), 201)

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(one) for one in self.fleet.listed() if one.state is not State.GONE]
        rest = [row for row in rows if str(row["id"]) > request.query.get("after", "")]
        more = len(rest) > PAGE
        return as_json({"machines": rest[:PAGE], "next": rest[PAGE - 1]["id"] if more else ""})

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None or machine.state is State.GONE:
            return as_json({"error": "not_found"}, 404)
        return as_json(self._row(machine))

    async def _delete(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None or machine.state is State.GONE:
            return as_json({"error": "not_found"}, 404)
        self.fleet.end(machine.id)
        return web.Response(status=204)

    async def _me(self, _request: web.Request) -> web.Response:
        return as_json({"credit_usd": 12.0, "may_create": True})

    def _row(self, machine: Machine) -> dict[str, object]:
        return {
            "id": machine.id,
            "name": machine.name,
            "state": self.word(machine, WORDS),
            "usd_h": machine.price_usd_h,
        }
