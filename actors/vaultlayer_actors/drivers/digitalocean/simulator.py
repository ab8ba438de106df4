"""DigitalOcean on loopback: its sizes, its droplets, and the ways in which they go wrong."""

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
    State.BOOTING: "new",
    State.RUNNING: "active",
    State.STOPPED: "off",
    State.EXITED: "off",
    State.FAILED: "new",
    State.ENDING: "active",
    State.GONE: "archive",
}
USER_DATA_B_MAX = 64 * 1024
PAGE_MAX = 200
NO_CAPACITY = "The size you have chosen is not available in the region at the moment."
IMAGES = {"gpu-h100x1-base", "gpu-h100x8-base", "gpu-amd-base", "ubuntu-24-04-x64"}

_SEED: list[tuple[str, str, int, float, float, list[str]]] = [
    # slug, model, GPUs, GiB, dollars an hour, regions
    ("gpu-h100x1-80gb", "nvidia_h100", 1, 80, 3.39, ["nyc2", "tor1", "atl1"]),
    ("gpu-h100x8-640gb", "nvidia_h100", 8, 640, 23.92, ["nyc2"]),
    ("gpu-h200x1-141gb", "nvidia_h200", 1, 141, 3.44, ["atl1"]),
    ("gpu-l40sx1-48gb", "nvidia_l40s", 1, 48, 1.57, ["tor1"]),
    ("gpu-6000adax1-48gb", "nvidia_rtx6000_ada", 1, 48, 1.57, ["tor1"]),
    ("gpu-4000adax1-20gb", "nvidia_rtx4000_ada", 1, 20, 0.76, ["tor1"]),
    ("gpu-mi300x1-192gb", "amd_mi300x", 1, 192, 1.99, ["nyc2", "atl1"]),
]


def size(
    slug: str, model: str, count: int, *, gib: float, usd_h: float, regions: Sequence[str]
) -> dict[str, Any]:
    """Give one row of `GET /v2/sizes` in the vendor's words."""
    return {
        "slug": slug,
        "memory": 245760 * count,
        "vcpus": 20 * count,
        "disk": 720,
        "transfer": 15.0,
        "price_monthly": round(usd_h * 744, 2),
        "price_hourly": usd_h,
        "regions": list(regions),
        "available": bool(regions),
        "description": f"{model.partition('_')[2].upper()} GPU - {count}X",
        "disk_info": [{"type": "local", "size": {"amount": 720, "unit": "gib"}}],
        "gpu_info": {"count": count, "model": model, "vram": {"amount": gib, "unit": "gib"}},
    }


CPU_SIZE = {
    "slug": "s-1vcpu-1gb",
    "memory": 1024,
    "vcpus": 1,
    "disk": 25,
    "transfer": 1.0,
    "price_monthly": 6.0,
    "price_hourly": 0.00893,
    "regions": ["nyc1", "ams3"],
    "available": True,
    "description": "Basic",
    "disk_info": [{"type": "local", "size": {"amount": 25, "unit": "gib"}}],
}


class DigitalOceanSimulator(Simulator):
    """One team. `sizes` is what it may rent, by slug; a test may change it."""

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        rows = [CPU_SIZE, *(size(a, b, c, gib=d, usd_h=e, regions=f) for a, b, c, d, e, f in _SEED)]
        self.sizes: dict[str, dict[str, Any]] = {str(row["slug"]): dict(row) for row in rows}
        self.page_max = PAGE_MAX
        self.route("GET", "/v2/sizes", "offers", self._sizes)
        self.route("POST", "/v2/droplets", "create", self._create)
        self.route("GET", "/v2/droplets", "list", self._list)
        self.route("DELETE", "/v2/droplets", "terminate", self._destroy_tagged)
        self.route("GET", "/v2/droplets/{id}", "get", self._get)
        self.route("DELETE", "/v2/droplets/{id}", "terminate", self._destroy)
        self.route("GET", "/v2/account", "account", self._account)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the team's token."""
        return request.headers.get("Authorization") == f"Bearer {self.key}"

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give DigitalOcean's own words for a failure."""
        del fault
        words = {
            401: ("unauthorized", "Unable to authenticate you"),
            403: ("forbidden", "You are not authorized to perform this operation"),
            429: ("too_many_requests", "API Rate limit exceeded."),
            503: ("service_unavailable", "service is unavailable"),
        }
        answer = refused(
            status, *words.get(status, ("server_error", "Unexpected server-side error"))
        )
        if status == 429:
            answer.headers["retry-after"] = "7"
            answer.headers["ratelimit-remaining"] = "0"
        return answer

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give DigitalOcean's refusals of a create: 422, or the fault's own status."""
        if fault.kind == "balance":
            text = "Please verify your payment method before creating Droplets."
        else:
            text = fault.text or NO_CAPACITY
        if fault.value:
            return refused(int(fault.value), "teapot", text)
        return unprocessable(text)

    def interrupt(self, machine_id: str) -> None:
        """Let its host fail: the droplet is off, and billed on."""
        lose(self.fleet, machine_id)

    # Offers -----------------------------------------------------------------------------------------

    async def _sizes(self, request: web.Request) -> web.Response:
        return self._page(request, "sizes", list(self.sizes.values()))

    def _page(
        self, request: web.Request, field: str, rows: Sequence[Mapping[str, Any]]
    ) -> web.Response:
        each = max(1, min(int(request.query.get("per_page") or 20), self.page_max))
        number = max(1, int(request.query.get("page") or 1))
        shown = rows[(number - 1) * each : number * each]
        links: dict[str, Any] = {}
        if number * each < len(rows):
            query = {**request.query, "page": str(number + 1)}
            links = {"pages": {"next": f"{self.url}{request.rel_url.with_query(query)}"}}
        return as_json({field: shown, "links": links, "meta": {"total": len(rows)}})

    # Machines ---------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if fault := self._fault_in(body):
            return unprocessable(fault)
        machine = self._droplet(body)
        row = {**self._row(machine), "status": "new"}
        action = {"id": 7, "rel": "create", "href": f"{self.url}/v2/actions/7"}
        return as_json({"droplet": row, "links": {"actions": [action]}}, 202)

    def _fault_in(self, body: Mapping[str, Any]) -> str:
        chosen = self.sizes.get(str(body.get("size")))
        if chosen is None:
            return "You specified an invalid size for Droplet creation."
        if body.get("region") not in chosen["regions"]:
            return NO_CAPACITY
        if body.get("image") not in IMAGES:
            return "You specified an invalid image for Droplet creation."
        if len(str(body.get("user_data") or "").encode()) > USER_DATA_B_MAX:
            return "User data is too long (maximum is 64 KiB)."
        return ""

    def _droplet(self, body: Mapping[str, Any]) -> Machine:
        usd_h = float(self.sizes[body["size"]]["price_hourly"])
        return self.fleet.make(
            str(body.get("name") or ""),
            usd_h,
            stopped_usd_h=usd_h,
            spec={"body": dict(body)},
            script=script_in(str(body.get("user_data") or "")),
        )

    async def _list(self, request: web.Request) -> web.Response:
        rows = [self._row(machine) for machine in self.fleet.listed() if self._is_shown(machine)]
        wants_gpus = request.query.get("type") == "gpus"
        rows = [row for row in rows if bool(row["size"].get("gpu_info")) is wants_gpus]
        for field in ("name", "tag_name"):
            if wanted := request.query.get(field):
                rows = [row for row in rows if wanted in (row["name"], *row["tags"])]
        return self._page(request, "droplets", rows)

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None or not self._is_shown(machine):
            return not_found()
        return as_json({"droplet": self._row(machine)})

    async def _destroy(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None or not self._is_shown(machine):
            return not_found()
        self.fleet.end(machine.id)
        return web.Response(status=204)

    async def _destroy_tagged(self, request: web.Request) -> web.Response:
        wanted = request.query.get("tag_name", "")
        for machine in list(self.fleet.machines.values()):
            if wanted in self._row(machine)["tags"]:
                self.fleet.end(machine.id)
        return web.Response(status=204)

    async def _account(self, _request: web.Request) -> web.Response:
        return as_json({"account": {"status": "active", "droplet_limit": 25}})

    def _is_shown(self, machine: Machine) -> bool:
        return machine.state is not State.GONE

    def _row(self, machine: Machine) -> dict[str, Any]:
        body: Mapping[str, Any] = machine.spec["body"]  # pyright: ignore[reportAssignmentType]
        chosen = self.sizes.get(body["size"], CPU_SIZE)
        region = {"slug": body["region"], "name": body["region"].upper(), "available": True}
        return {
            "id": int(machine.id),
            "name": machine.name,
            "memory": chosen["memory"],
            "vcpus": chosen["vcpus"],
            "disk": chosen["disk"],
            "locked": False,
            "status": self.word(machine, WORDS),
            "created_at": "2026-01-01T00:00:00Z",
            "features": [],
            "backup_ids": [],
            "snapshot_ids": [],
            "volume_ids": [],
            "image": {"id": 1, "slug": body["image"], "distribution": "Ubuntu"},
            "size": {**chosen, "price_hourly": machine.price_usd_h},
            "size_slug": body["size"],
            "networks": {"v4": [], "v6": []},
            "region": region,
            "tags": list(body.get("tags") or []),
            "vpc_uuid": "",
        }


def refused(status: int, code: str, text: str) -> web.Response:
    """Give an error in DigitalOcean's shape."""
    return as_json({"id": code, "message": text, "request_id": "4d9d8375"}, status)


def unprocessable(text: str) -> web.Response:
    """Give the one answer for a bad parameter and for no capacity."""
    return refused(422, "unprocessable_entity", text)


def not_found() -> web.Response:
    """Give the answer for what is not there."""
    return refused(404, "not_found", "The resource you were accessing could not be found.")
