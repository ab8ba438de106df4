"""Vast.ai on loopback: its searches, contracts, bids and the ways in which they go wrong."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.vast.market import MARKET, matches, order_by
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "loading",
    State.RUNNING: "running",
    State.STOPPED: "stopped",
    State.EXITED: "exited",
    State.FAILED: "created",
    State.ENDING: "stopped",
    State.GONE: None,
}
ENV_VALUE_MAX, ENV_MAX, ARGS_MAX, LABEL_MAX, IMAGE_MAX = 256, 32768, 4096, 256, 1024
PAGE_MAX = 25


class VastSimulator(Simulator):
    """One account. `asks` is the market, by ask id; a test may change it."""

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.asks: dict[int, dict[str, Any]] = {ask["id"]: dict(ask) for ask in MARKET}
        self.plain_429 = True
        """429 as plain text, as most endpoints do."""
        self._routes()

    def _routes(self) -> None:
        self.route("POST", "/api/v0/bundles/", "offers", self._search)
        self.route("PUT", "/api/v0/search/asks/", "offers", self._search)
        self.route("PUT", "/api/v0/asks/{id}/", "create", self._create)
        self.route("GET", "/api/v1/instances/", "list", self._list)
        self.route("GET", "/api/v0/instances/", "list", self._list_old)
        self.route("GET", "/api/v0/instances/{id}/", "get", self._get)
        self.route("PUT", "/api/v0/instances/bid_price/{id}/", "bid", self._bid)
        self.route("PUT", "/api/v0/instances/{id}/", "manage", self._manage)
        self.route("DELETE", "/api/v0/instances/{id}/", "terminate", self._destroy)
        self.route_openly("/api/v0/gpu_names/unique/", self._names)
        self.route("GET", "/api/v0/users/current", "user", self._user)
        self.route("GET", "/api/v0/users/current/", "user", self._user)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the account's key, and a machine's own key for its own end."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        given = given or request.query.get("api_key", "")
        own = f"instance-key-{request.match_info.get('id', '')}"
        return given == self.key or (request.method == "DELETE" and given == own)

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Vast.ai's own words for a failure."""
        if status == 401:
            return refused(401, "auth_error", "Invalid user key")
        if status == 429 and self.plain_429:
            return web.Response(
                status=429, text="API requests too frequent: endpoint threshold=4.5"
            )
        if status == 429:
            return refused(429, "rate_limit_exceeded", "API requests too frequent")
        if status == 403:
            return refused(403, "forbidden", "not permitted for this key")
        return web.Response(status=status, text="Internal Server Error" if fault else "")

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Vast.ai's refusals of a create."""
        if fault.kind == "balance":
            text = "Your account lacks credit; see the billing page."
            return refused(400, "insufficient_credit", text)
        if fault.kind == "offer_gone" and fault.value == 410:
            return refused(410, "no_such_ask", "Instance type is no longer available.")
        return no_such_ask(0)

    def interrupt(self, machine_id: str) -> None:
        """Outbid it."""
        self.fleet.outbid(machine_id)

    def machine_environment(self, machine: Machine) -> dict[str, str]:
        """Give what Vast.ai puts into every container."""
        return {
            "CONTAINER_ID": machine.id,
            "CONTAINER_API_KEY": f"instance-key-{machine.id}",
            "VAST_CONTAINERLABEL": f"C.{machine.id}",
            "PUBLIC_IPADDR": "203.0.113.42",
            "GPU_COUNT": str(machine.spec.get("num_gpus", 1)),
            "VAST_URL": self.url,
        }

    # Offers -----------------------------------------------------------------------------------------

    async def _search(self, request: web.Request) -> web.Response:
        query = json.loads(await request.read())
        query = query.get("q", query)
        disk_gb = float(query.get("allocated_storage", 5.0))
        kind = str(query.get("type", "on-demand"))
        rows = [self._priced(ask, disk_gb, kind) for ask in self.asks.values()]
        rows = [row for row in rows if matches(row, query)]
        rows = order_by(rows, query.get("order", []))
        return as_json({"offers": rows[: int(query.get("limit") or 64)]})

    def _priced(self, ask: dict[str, Any], disk_gb: float, kind: str) -> dict[str, Any]:
        is_bid = kind in {"bid", "interruptible"}
        usd_h = ask["min_bid"] if is_bid else ask["dph_base"]
        total = (usd_h or 0.0) + disk_gb * ask["storage_cost"] / 720
        return {**ask, "dph_total": total, "is_bid": is_bid}

    # Machines ---------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        ask_id = int(request.match_info["id"])
        body = json.loads(await request.read())
        if fault := limits_broken(body):
            return refused(400, "invalid_args", fault)
        ask = self.asks.get(ask_id)
        if ask is None or not ask["rentable"]:
            return no_such_ask(ask_id)
        bid = body.get("price")
        machine = self._contract(ask, body, bid)
        is_low = bid is not None and ask["min_bid"] is not None and bid < ask["min_bid"]
        if is_low or self.faults.take("create", "hidden_contract"):
            self.fleet.outbid(machine.id)
            text = "bid is below the minimum"
            body = {"success": False, "error": "invalid_price", "msg": text}
            return as_json({**body, "new_contract": int(machine.id)}, 400)
        return as_json({"success": True, "new_contract": int(machine.id)})

    def _contract(self, ask: dict[str, Any], body: dict[str, Any], bid: float | None) -> Machine:
        disk_usd_h = float(body.get("disk") or 8) * ask["storage_cost"] / 720
        usd_h = ask["dph_base"] if bid is None else bid
        ask["rentable"] = False
        env: dict[str, Any] = body.get("env") or {}
        return self.fleet.make(
            str(body.get("label") or ""),
            usd_h + disk_usd_h,
            stopped_usd_h=disk_usd_h,
            spec={"ask": ask, "body": body, "bid": bid, "num_gpus": ask["num_gpus"]},
            env={key: str(value) for key, value in env.items() if not key.startswith("-")},
            script=command_of(body),
        )

    async def _list(self, request: web.Request) -> web.Response:
        filters = json.loads(request.query.get("select_filters") or "{}")
        limit = min(int(request.query.get("limit") or PAGE_MAX), PAGE_MAX)
        after = int(request.query.get("after_token") or 0)
        rows = [self._row(machine) for machine in self.fleet.listed() if self._is_shown(machine)]
        rows = sorted((row for row in rows if matches(row, filters)), key=lambda row: row["id"])
        page = [row for row in rows if row["id"] > after][:limit]
        more = page and page[-1]["id"] != rows[-1]["id"]
        return as_json(
            {
                "success": True,
                "instances_found": len(page),
                "total_instances": len(rows),
                "label_counts": {},
                "next_token": str(page[-1]["id"]) if more else None,
                "instances": page,
            }
        )

    async def _list_old(self, _request: web.Request) -> web.Response:
        rows = [self._row(machine) for machine in self.fleet.listed() if self._is_shown(machine)]
        return as_json({"instances": rows})

    def _is_shown(self, machine: Machine) -> bool:
        return machine.state is not State.GONE

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        row = None if machine is None or not self._is_shown(machine) else self._row(machine)
        return as_json({"instances": row})

    async def _bid(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None:
            return refused(404, "no_such_instance", "not found")
        price = float(json.loads(await request.read())["price"])
        machine.spec["bid"] = price
        machine.price_usd_h = price + machine.stopped_usd_h
        self.fleet.resurrect(machine.id)
        return as_json({"success": True})

    async def _manage(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None:
            return refused(404, "no_such_instance", "not found")
        body = json.loads(await request.read())
        if "label" in body:
            machine.name = str(body["label"])
        if body.get("state") == "stopped":
            self.fleet.stop(machine.id)
        elif body.get("state") == "running":
            self.fleet.resurrect(machine.id)
        return as_json({"success": True})

    async def _destroy(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None or machine.state is State.GONE:
            if self.faults.peek("no_such_instance"):
                return refused(400, "no_such_instance", "no such instance")
            return refused(404, "not_found", "not found")
        # Whoever has outbid us keeps it; what its owner gives up is on the market again.
        if machine.state is not State.STOPPED and (ask := machine.spec.get("ask")):
            ask["rentable"] = True  # pyright: ignore[reportIndexIssue]
        self.fleet.end(machine.id)
        return as_json({"success": True, "msg": "destroying"})

    async def _names(self, _request: web.Request) -> web.Response:
        names = sorted({ask["gpu_name"] for ask in self.asks.values()})
        return as_json({"gpu_names": names})

    async def _user(self, _request: web.Request) -> web.Response:
        return as_json({"id": 1, "username": "sim", "credit": 100.0})

    def _row(self, machine: Machine) -> dict[str, Any]:
        ask: Mapping[str, Any] = machine.spec.get("ask") or MARKET[0]  # pyright: ignore[reportAssignmentType]
        body: Mapping[str, Any] = machine.spec.get("body") or {}  # pyright: ignore[reportAssignmentType]
        halted = machine.state is State.STOPPED
        ending = machine.state is State.ENDING
        state = "unloaded" if ending and not self.fleet.knobs.end_s else "running"
        return {
            **ask,
            "id": int(machine.id),
            "label": machine.name,
            "actual_status": self.word(machine, WORDS),
            "intended_status": "stopped" if halted else "running",
            "cur_state": "stopped" if halted else state,
            "next_state": "stopped" if halted else "running",
            "status_msg": machine.reason,
            "is_bid": machine.spec.get("bid") is not None,
            "dph_total": machine.price_usd_h,
            "image_uuid": body.get("image", ""),
            "image_runtype": body.get("runtype", "args"),
            "image_args": body.get("args") or [],
            "extra_env": [[key, value] for key, value in machine.env.items()],
            "onstart": body.get("onstart"),
            "ssh_host": "ssh4.vast.ai",
            "ssh_port": 10600,
            "public_ipaddr": "203.0.113.42",
            "ports": {},
            "start_date": machine.created_s,
            "end_date": machine.created_s + 5e6,
            "gpu_util": 0.0,
            "uptime_mins": 0.0,
        }


def command_of(body: Mapping[str, Any]) -> str:
    """Give what a container runs, as sh: in args mode `onstart` is the program and gets `args`."""
    given: list[Any] = body.get("args") or []
    args = [str(arg) for arg in given]
    onstart = str(body.get("onstart") or "")
    if body.get("runtype") != "args":
        return onstart
    words = [*([onstart] if onstart else []), *args]
    quoted = " ".join("'" + word.replace("'", "'\\''") + "'" for word in words)
    return f"exec {quoted}" if quoted else ""


def limits_broken(body: Mapping[str, Any]) -> str:
    """Say which documented limit a create exceeds; empty when none."""
    env: dict[str, Any] = body.get("env") or {}
    given: list[Any] = body.get("args") or []
    args = sum(len(str(arg)) for arg in given) + len(body.get("onstart") or "")
    if any(len(str(value)) > ENV_VALUE_MAX for value in env.values()):
        return f"an env value is longer than {ENV_VALUE_MAX}"
    if sum(len(str(key)) + len(str(value)) for key, value in env.items()) > ENV_MAX:
        return f"env is longer than {ENV_MAX}"
    if args > ARGS_MAX:
        return f"args and onstart are longer than {ARGS_MAX}"
    if len(body.get("label") or "") > LABEL_MAX or len(body.get("image") or "") > IMAGE_MAX:
        return "label or image is too long"
    return "" if float(body.get("disk") or 0) >= 8 else "disk must be at least 8"


def refused(status: int, error: str, text: str) -> web.Response:
    """Give an error in Vast.ai's shape."""
    return as_json({"success": False, "error": error, "msg": text}, status)


def no_such_ask(ask_id: int) -> web.Response:
    """Give the answer for an offer that is gone."""
    text = f"error 404/3603: no_such_ask Instance type by id {ask_id} is not available."
    return as_json({"success": False, "error": "invalid_args", "msg": text, "ask_id": ask_id}, 404)
