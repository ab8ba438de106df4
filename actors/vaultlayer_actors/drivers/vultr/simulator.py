"""Vultr on loopback: its plans, its instances, and the ways in which they go wrong."""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json
from vaultlayer_actors.simulator.vm import lose, script_in

WORDS: dict[State, str | None] = {
    State.BOOTING: "pending",
    State.RUNNING: "active",
    State.STOPPED: "active",
    State.EXITED: "active",
    State.FAILED: "pending",
    State.ENDING: "active",
    State.GONE: None,
}
OFF = frozenset({State.STOPPED, State.EXITED})
PAGE_MAX = 500
PUBLIC = frozenset({"/plans", "/plans-metal"})
BOOTS = ("os_id", "app_id", "image_id", "snapshot_id", "iso_id")
NO_CAPACITY = "Server add failed: The selected plan is not available in the selected location"

_SEED: list[tuple[str, str, str | None, float, float, list[str]]] = [
    # id, type, card, GB of the whole plan, dollars an hour (invented), locations
    ("vcg-a100-1c-6g-4vram", "vcg", "NVIDIA_A100", 4, 0.13, ["ewr", "ams"]),
    ("vcg-a100-6c-60g-40vram", "vcg", "NVIDIA_A100", 40, 1.20, ["ewr"]),
    ("vcg-a100-12c-120g-80vram", "vcg", "NVIDIA_A100", 80, 2.40, ["ewr", "ams", ""]),
    ("vcg-a100-24c-240g-160vram", "vcg", "NVIDIA_A100", 160, 4.80, ["ewr"]),
    ("vcg-l40s-16c-180g-48vram", "vcg", "NVIDIA_L40S", 48, 1.67, ["ewr", "lax"]),
    ("vcg-a40-24c-120g-48vram", "vcg", "NVIDIA_A40", 48, 1.71, ["ewr"]),
    ("vcg-a16-6c-64g-16vram", "vcg", "NVIDIA_A16", 16, 0.47, ["ewr", "ams"]),
    ("vcg-mi300x-24c-240g-192vram", "vcg", "AMD_MI300X", 192, 1.85, ["ord"]),
    ("vcg-b200-248c-2826g-1536vram", "vdm", None, 0, 23.92, []),
    ("vc2-1c-1gb", "vc2", None, 0, 0.007, ["ewr", "ams", "lax"]),
]


def plan(
    plan_id: str, kind: str, card: str | None, *, gb: float, usd_h: float, places: Sequence[str]
) -> dict[str, Any]:
    """Give one row of `GET /plans` in the vendor's words."""
    row: dict[str, Any] = {
        "id": plan_id,
        "vcpu_count": 12,
        "ram": 122880,
        "disk": 1400,
        "disk_count": 1,
        "bandwidth": 10240,
        "monthly_cost": round(usd_h * 730, 2),
        "hourly_cost": usd_h,
        "type": kind,
        "locations": list(places),
        "deploy_ondemand": True,
    }
    return {**row, "gpu_vram_gb": gb, "gpu_type": card} if card else row


def uuid_of(number: int) -> str:
    """Give the vendor's kind of id."""
    return f"cb676a46-66fd-4dfb-b839-{number:012d}"


class VultrSimulator(Simulator):
    """One account. `plans` is the catalogue, `stock` what each region has now; a test may change both."""

    id_of = staticmethod(uuid_of)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        rows = [plan(a, b, c, gb=d, usd_h=e, places=f) for a, b, c, d, e, f in _SEED]
        self.plans: dict[str, dict[str, Any]] = {row["id"]: row for row in rows}
        self.stock: dict[str, set[str]] = {}
        for row in rows:
            for place in filter(None, row["locations"]):
                self.stock.setdefault(place, set()).add(row["id"])
        self.page_max = PAGE_MAX
        self.locks_while_booting = False
        """A machine that is being installed refuses its end; not verified."""
        self.route("GET", "/plans", "offers", self._plans)
        self.route("GET", "/plans-metal", "metal", self._metal)
        self.route("GET", "/regions/{region}/availability", "stock", self._availability)
        self.route("POST", "/instances", "create", self._create)
        self.route("GET", "/instances", "list", self._list)
        self.route("GET", "/instances/{id}", "get", self._get)
        self.route("DELETE", "/instances/{id}", "terminate", self._destroy)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the account's key; plans are told to anybody."""
        return (
            request.path in PUBLIC or request.headers.get("Authorization") == f"Bearer {self.key}"
        )

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Vultr's own words for a failure."""
        del fault
        words = {
            401: "Invalid API token.",
            403: "Forbidden",
            429: "Rate limit exceeded",
            503: "Service unavailable",
        }
        return refused(status, words.get(status, "Internal error"))

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Vultr's refusals of a create."""
        if fault.kind == "balance":
            return refused(400, "Server add failed: Insufficient account balance")
        return refused(int(fault.value) or 400, fault.text or NO_CAPACITY)

    def interrupt(self, machine_id: str) -> None:
        """Let its host fail: the instance is stopped, and billed on."""
        lose(self.fleet, machine_id)

    # Offers -----------------------------------------------------------------------------------------

    async def _plans(self, request: web.Request) -> web.Response:
        kind = request.query.get("type", "all")
        rows = [row for row in self.plans.values() if kind in {"all", row["type"]}]
        return self._page(request, "plans", rows)

    async def _metal(self, request: web.Request) -> web.Response:
        return self._page(request, "plans_metal", [])

    async def _availability(self, request: web.Request) -> web.Response:
        region, kind = request.match_info["region"], request.query.get("type", "all")
        if region not in self.stock:
            return refused(404, "Invalid region.")
        free = sorted(
            name
            for name in self.stock[region]
            if name in self.plans and kind in {"all", self.plans[name]["type"]}
        )
        return as_json({"available_plans": free})

    def _page(
        self, request: web.Request, field: str, rows: Sequence[Mapping[str, Any]]
    ) -> web.Response:
        each = max(1, min(int(request.query.get("per_page") or 100), self.page_max))
        cursor = request.query.get("cursor", "")
        start = int(base64.b64decode(cursor)) if cursor else 0
        more = start + each < len(rows)
        following = base64.b64encode(str(start + each).encode()).decode() if more else ""
        links = {"next": following, "prev": ""}
        meta = {"total": len(rows), "links": links}
        return as_json({field: rows[start : start + each], "meta": meta})

    # Machines ---------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if fault := self._fault_in(body):
            return refused(400, fault)
        chosen = self.plans[body["plan"]]
        user_data = base64.b64decode(body.get("user_data") or "").decode()
        machine = self.fleet.make(
            str(body.get("label") or ""),
            float(chosen["hourly_cost"]),
            stopped_usd_h=float(chosen["hourly_cost"]),
            spec={"body": dict(body)},
            script=script_in(user_data),
        )
        fresh = {"status": "pending", "server_status": "none", "main_ip": "0.0.0.0"}  # noqa: S104
        row = {**self._row(machine), **fresh, "default_password": "v5{Fkvb#2ycPGwHs"}
        return as_json({"instance": row}, 202)

    def _fault_in(self, body: Mapping[str, Any]) -> str:
        if sum(name in body for name in BOOTS) != 1:
            return "Exactly one of os_id, app_id, image_id, snapshot_id or iso_id is required"
        if body.get("plan") not in self.plans:
            return "Invalid plan chosen."
        if body["plan"] not in self.stock.get(str(body.get("region")), set()):
            return NO_CAPACITY
        try:
            base64.b64decode(body.get("user_data") or "", validate=True)
        except binascii.Error:
            return "Invalid user_data: not base64"
        return ""

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(one) for one in self.fleet.listed() if one.state is not State.GONE]
        if label := request.query.get("label"):
            rows = [row for row in rows if row["label"] == label]
        return self._page(request, "instances", rows)

    async def _get(self, request: web.Request) -> web.Response:
        machine = self._found(request)
        return not_found() if machine is None else as_json({"instance": self._row(machine)})

    async def _destroy(self, request: web.Request) -> web.Response:
        machine = self._found(request)
        if machine is None:
            return not_found()
        if self.locks_while_booting and machine.state is State.BOOTING:
            return refused(400, "Unable to destroy server: Server is currently locked")
        self.fleet.end(machine.id)
        return web.Response(status=204)

    def _found(self, request: web.Request) -> Machine | None:
        machine = self.fleet.seen(request.match_info["id"])
        return None if machine is None or machine.state is State.GONE else machine

    def _row(self, machine: Machine) -> dict[str, Any]:
        body: Mapping[str, Any] = machine.spec["body"]  # pyright: ignore[reportAssignmentType]
        booting = machine.state is State.BOOTING
        return {
            "id": machine.id,
            "os": "Ubuntu 22.04 x64",
            "ram": 122880,
            "disk": 1400,
            "main_ip": "0.0.0.0" if booting else "203.0.113.42",  # noqa: S104
            "vcpu_count": 12,
            "region": body["region"],
            "plan": body["plan"],
            "date_created": "2026-01-01T00:00:00+00:00",
            "status": self.word(machine, WORDS),
            "power_status": "stopped" if machine.state in OFF else "running",
            "server_status": "none" if booting else "ok",
            "allowed_bandwidth": 10240,
            "label": machine.name,
            "hostname": machine.name,
            "tag": "",
            "tags": list(body.get("tags") or []),
            "os_id": body.get("os_id", 0),
            "features": [],
        }


def refused(status: int, text: str) -> web.Response:
    """Give an error in Vultr's shape."""
    return as_json({"error": text, "status": status}, status)


def not_found() -> web.Response:
    """Give the answer for what is not there."""
    return refused(404, "Invalid instance.")
