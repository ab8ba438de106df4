"""Verda on loopback: tokens, scripts, ids as plain text, volumes that outlive their machines."""

import itertools
import json
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.verda.market import AVAILABLE, TYPES
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "provisioning",
    State.RUNNING: "running",
    State.STOPPED: "offline",
    State.EXITED: "offline",
    State.FAILED: "no_capacity",
    State.ENDING: "deleting",
    State.GONE: "discontinued",
}
CLIENT = "sim-client"
SCRIPTS_MAX = 100
DISK_USD_GB_H = 0.20 / 730


def id_of(number: int) -> str:
    """Give the vendor's kind of id."""
    return f"00000000-0000-4000-8000-{number:012d}"


class VerdaSimulator(Simulator):
    """One project; `key` is the client secret."""

    id_of = staticmethod(id_of)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.tokens: dict[str, float] = {}
        """Access token → when it ends."""
        self.token_s = 3600.0
        self.scripts: dict[str, dict[str, str]] = {}
        self.volumes: dict[str, str] = {}
        """Volumes that are billed, each with the name of the machine that it was made for."""
        self.available = {place: list(kinds) for place, kinds in AVAILABLE.items()}
        self.multi_status = True
        """Whether a delete objects with 207 or with 400."""
        self._numbers = itertools.count(1)
        self._routes()

    def _routes(self) -> None:
        self.route("GET", "/instance-types", "offers", self._types)
        self.route("GET", "/instance-availability", "offers", self._availability)
        self.route("GET", "/instance-availability/{type}", "offers", self._is_available)
        self.route("GET", "/volume-types", "offers", self._volume_types)
        self.route("GET", "/balance", "account", self._balance)
        self.route("GET", "/scripts", "scripts", self._scripts)
        self.route("POST", "/scripts", "script", self._add_script)
        self.route("GET", "/scripts/{id}", "scripts", self._script)
        self.route("DELETE", "/scripts", "scripts", self._drop_scripts)
        self.route("DELETE", "/scripts/{id}", "scripts", self._drop_script)
        self.route("GET", "/instances", "list", self._list)
        self.route("POST", "/instances", "create", self._create)
        self.route("PUT", "/instances", "terminate", self._act)
        self.route("GET", "/instances/{id}", "get", self._get)
        self.route_openly("/oauth2/token", self._token)

    def secrets(self) -> dict[str, str]:
        """Give the client credentials."""
        return {"client_id": CLIENT, "client_secret": self.key}

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept a token that has not ended."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return self.tokens.get(given, 0.0) > self.clock.now_s()

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Verda's own words for a failure."""
        del fault
        codes = {401: "unauthorized_request", 403: "forbidden_action", 429: "too_many_requests"}
        return refused(status, codes.get(status, "server_error"), "the request failed")

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Verda's refusals of a create."""
        if fault.kind == "balance":
            return refused(400, "insufficient_funds", "Insufficient funds")
        return refused(503, "service_unavailable", "Not enough resources")

    def interrupt(self, machine_id: str) -> None:
        """Discontinue it, without a word; its volume goes or stays as was asked for."""
        machine = self.fleet.machines[machine_id]
        volume: dict[str, Any] = _body(machine).get("os_volume") or {}
        if volume.get("on_spot_discontinue") == "delete_permanently":
            self.volumes.pop(str(machine.spec["volume"]), None)
        self.fleet.vanish(machine_id)

    async def _token(self, request: web.Request) -> web.Response:
        if self.faults.take("token", "503"):
            return refused(503, "service_unavailable", "try again")
        given: dict[str, str] = json.loads(await request.read())
        grant = given.get("grant_type")
        known = (given.get("client_id"), given.get("client_secret")) == (CLIENT, self.key)
        if not (known if grant == "client_credentials" else given.get("refresh_token") == self.key):
            return refused(401, "unauthorized_request", "Invalid client id or client secret")
        token = f"sim-token-{len(self.tokens)}"
        self.tokens[token] = self.clock.now_s() + self.token_s
        return as_json(
            {
                "access_token": token,
                "refresh_token": self.key,
                "scope": "cloud-api-v1",
                "token_type": "Bearer",
                "expires_in": int(self.token_s),
            }
        )

    # Offers -----------------------------------------------------------------------------------------

    async def _types(self, _request: web.Request) -> web.Response:
        return as_json(list(TYPES.values()))

    async def _availability(self, request: web.Request) -> web.Response:
        wanted = request.query.get("location_code")
        places = {
            place: kinds for place, kinds in self.available.items() if wanted in {None, place}
        }
        return as_json(
            [{"location_code": place, "availabilities": kinds} for place, kinds in places.items()]
        )

    async def _is_available(self, request: web.Request) -> web.Response:
        place, kind = request.query.get("location_code"), request.match_info["type"]
        found = [kinds for where, kinds in self.available.items() if place in {None, where}]
        return as_json(any(kind in kinds for kinds in found))

    async def _volume_types(self, _request: web.Request) -> web.Response:
        prices = {"NVMe": 0.2, "HDD": 0.05}
        return as_json(
            [
                {"type": kind, "price": {"price_per_month_per_gb": usd, "currency": "usd"}}
                for kind, usd in prices.items()
            ]
        )

    async def _balance(self, _request: web.Request) -> web.Response:
        return as_json({"amount": 42.5, "currency": "usd"})

    # Scripts ----------------------------------------------------------------------------------------

    async def _scripts(self, _request: web.Request) -> web.Response:
        return as_json(list(self.scripts.values()))

    async def _script(self, request: web.Request) -> web.Response:
        found = self.scripts.get(request.match_info["id"])
        return as_json([found]) if found else refused(404, "not_found", "Invalid script id")

    async def _add_script(self, request: web.Request) -> web.Response:
        if len(self.scripts) >= SCRIPTS_MAX:
            return refused(400, "invalid_request", "You have reached the limit of startup scripts")
        body: dict[str, str] = json.loads(await request.read())
        made = f"10000000-0000-4000-8000-{next(self._numbers):012d}"
        self.scripts[made] = {"id": made, "name": body["name"], "script": body["script"]}
        return web.Response(status=201, text=made)

    async def _drop_scripts(self, request: web.Request) -> web.Response:
        body: dict[str, list[str]] = json.loads(await request.read())
        for one in body["scripts"]:
            self.scripts.pop(one, None)
        return web.Response(status=200)

    async def _drop_script(self, request: web.Request) -> web.Response:
        self.scripts.pop(request.match_info["id"], None)
        return web.Response(status=200)

    # Machines ---------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = json.loads(await request.read())
        if not body.get("location_code"):
            return refused(400, "invalid_request", "location_code is required")
        kind, script = body["instance_type"], body.get("startup_script_id")
        if script and script not in self.scripts:
            return refused(400, "invalid_request", "Invalid startup script id")
        if kind not in self.available.get(body["location_code"], []):
            return refused(503, "service_unavailable", "Not enough resources")
        if body["image"] not in TYPES[kind]["supported_os"]:
            return refused(400, "invalid_request", "The image is not supported")
        volume = f"20000000-0000-4000-8000-{next(self._numbers):012d}"
        self.volumes[volume] = body["hostname"]
        price = TYPES[kind]["spot_price" if body.get("is_spot") else "price_per_hour"]
        disk: dict[str, Any] = body.get("os_volume") or {}
        disk_usd_h = float(disk.get("size", 50)) * DISK_USD_GB_H
        machine = self.fleet.make(
            body["hostname"],
            float(price) + disk_usd_h,
            stopped_usd_h=float(price) + disk_usd_h,
            spec={"body": body, "volume": volume},
            script=self.scripts[script]["script"] if script else "",
        )
        if self.faults.take("create", "unavailable_after"):
            return refused(503, "service_unavailable", "Not enough resources")
        if self.faults.take("create", "no_capacity_later"):
            self.fleet.machines[machine.id].state = State.FAILED
        return web.Response(status=202, text=machine.id)

    async def _list(self, request: web.Request) -> web.Response:
        status = request.query.get("status")
        rows = [self._row(one) for one in self.fleet.listed() if one.state is not State.GONE]
        return as_json([row for row in rows if status in {None, row["status"]}])

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None:
            return refused(404, "not_found", "Invalid instance id")
        return as_json(self._row(machine))

    async def _act(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = json.loads(await request.read())
        given = body["id"]
        ids: list[str] = [given] if isinstance(given, str) else given
        faults = {one: self._delete(one, body) for one in ids}
        if not any(faults.values()):
            return web.Response(status=202)
        if not self.multi_status:
            return refused(400, "invalid_request", next(filter(None, faults.values())))
        return as_json([_outcome(one, fault) for one, fault in faults.items()], 207)

    def _delete(self, machine_id: str, body: dict[str, Any]) -> str:
        self.fleet.tick()
        machine = self.fleet.machines.get(machine_id)
        if machine is None:
            return "Invalid instance id"
        if machine.state is State.GONE:
            return "Can't discontinue a discontinued instance"
        if machine.state is State.BOOTING:
            return "Can't discontinue a provisioning instance"
        volumes: list[str] = body.get("volume_ids") or []
        for volume in volumes:
            self.volumes.pop(volume, None)
        self.fleet.end(machine_id)
        return ""

    def _row(self, machine: Machine) -> dict[str, Any]:
        body = _body(machine)
        kind = TYPES.get(str(body.get("instance_type")), TYPES["1V100.6V"])
        parts = {name: kind[name] for name in ("cpu", "gpu", "memory", "gpu_memory", "storage")}
        volume = machine.spec.get("volume")
        return {
            **parts,
            "id": machine.id,
            "ip": "203.0.113.7",
            "status": self.word(machine, WORDS),
            "created_at": "2026-11-20T08:00:00.000Z",
            "hostname": machine.name,
            "description": machine.name,
            "location": body.get("location_code", "FIN-01"),
            "price_per_hour": machine.price_usd_h,
            "is_spot": bool(body.get("is_spot")),
            "instance_type": kind["instance_type"],
            "image": body.get("image", ""),
            "startup_script_id": body.get("startup_script_id"),
            "ssh_key_ids": body.get("ssh_key_ids") or [],
            "os_volume_id": volume,
            "volume_ids": [volume] if volume else [],
            "contract": body.get("contract"),
            "pricing": body.get("pricing"),
            "tags": [],
        }


def _body(machine: Machine) -> dict[str, Any]:
    found: dict[str, Any] = machine.spec.get("body") or {}  # pyright: ignore[reportAssignmentType]
    return found


def _outcome(machine_id: str, fault: str) -> dict[str, Any]:
    status = (
        {"status": "error", "error": fault, "statusCode": 400} if fault else {"statusCode": 202}
    )
    return {"action": "delete", "instanceId": machine_id, "status": "success", **status}


def refused(status: int, code: str, text: str) -> web.Response:
    """Give an error in Verda's shape."""
    return as_json({"code": code, "message": text}, status)
