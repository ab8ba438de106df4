"""Hyperstack on loopback: its flavours, its machines, and the ways in which they go wrong."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json
from vaultlayer_actors.simulator.vm import lose, script_in

WORDS: dict[State, str | None] = {
    State.BOOTING: "CREATING",
    State.RUNNING: "ACTIVE",
    State.STOPPED: "SHUTOFF",
    State.EXITED: "SHUTOFF",
    State.FAILED: "ERROR",
    State.ENDING: "DELETING",
    State.GONE: None,
}
NAME_MAX = 50
PAGE_MAX = 100
WAIT = "Virtual machine is being created. Please wait until the creation process is finished."
NO_CAPACITY = "The selected flavor is out of stock in this region."

_SEED: list[tuple[str, str, str, int, bool]] = [
    # flavour, GPU, region, GPUs, whether there is one now
    ("n3-A100x1", "A100-80G-PCIe", "CANADA-1", 1, True),
    ("n3-A100x1", "A100-80G-PCIe", "NORWAY-1", 1, True),
    ("n3-A100x2", "A100-80G-PCIe", "CANADA-1", 2, True),
    ("n3-H100x1", "H100-80G-PCIe", "CANADA-1", 1, True),
    ("n3-H100x1-spot", "H100-80G-PCIe", "CANADA-1", 1, True),
    ("n3-H100x8-SXM5", "H100-80G-SXM5", "CANADA-1", 8, False),
    ("n3-L40x1", "L40", "CANADA-1", 1, True),
    ("n3-RTX-A6000x1", "RTX-A6000", "NORWAY-1", 1, True),
    ("n1-cpu-small", "", "CANADA-1", 0, True),
]

PRICES = {
    "A100-80G-PCIe": 1.35,
    "H100-80G-PCIe": 1.90,
    "H100-80G-SXM5": 2.40,
    "L40": 1.00,
    "RTX-A6000": 0.50,
    "Public IP": 0.00672,
}


def flavor(
    number: int, name: str, gpu: str, region: str, count: int, *, has: bool
) -> dict[str, Any]:
    """Give one flavour in the vendor's words."""
    return {
        "id": number,
        "name": name,
        "display_name": name,
        "region_name": region,
        "cpu": 28 * max(1, count),
        "ram": 120.0 * max(1, count),
        "disk": 100,
        "ephemeral": 750,
        "gpu": gpu,
        "gpu_count": count,
        "stock_available": has,
        "features": {},
        "labels": [],
        "created_at": "2026-01-01T00:00:00",
    }


class HyperstackSimulator(Simulator):
    """One organisation. `flavors` and `prices` are what it may rent; a test may change both."""

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.flavors = [
            flavor(number, name, gpu, region, count, has=has)
            for number, (name, gpu, region, count, has) in enumerate(_SEED, 1)
        ]
        self.prices = dict(PRICES)
        self.environments = {"default-CANADA-1", "default-NORWAY-1"}
        self.keys = {"vaultlayer"}
        self.has_unique_names = False
        """Whether a second machine of a name is refused; both have been reported."""
        self.page_max = PAGE_MAX
        self.first_page = 1
        self.route("GET", "/core/flavors", "offers", self._flavors)
        self.route("GET", "/pricebook", "prices", self._pricebook)
        self.route("POST", "/core/virtual-machines", "create", self._create)
        self.route("GET", "/core/virtual-machines", "list", self._list)
        path = "/core/virtual-machines/name-availability/{name}"
        self.route("GET", path, "names", self._name)
        self.route("GET", "/core/virtual-machines/{id}", "get", self._get)
        self.route("DELETE", "/core/virtual-machines/{id}", "terminate", self._delete)
        for verb in ("start", "stop", "hibernate", "hard-reboot"):
            self.route("GET", f"/core/virtual-machines/{{id}}/{verb}", verb, self._change)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the organisation's key."""
        return request.headers.get("api_key") == self.key

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Hyperstack's own words for a failure."""
        del fault
        words = {
            401: ("Unauthorized", "unauthorized"),
            403: ("You do not have the required permissions", "forbidden"),
            429: ("Too many requests", "too_many_requests"),
        }
        return refused(status, *words.get(status, ("Internal server error", "internal_error")))

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Hyperstack's refusals of a create."""
        if fault.kind == "balance":
            return refused(400, "Insufficient credit to create the virtual machine", "bad_request")
        return refused(int(fault.value) or 400, fault.text or NO_CAPACITY, "bad_request")

    def interrupt(self, machine_id: str) -> None:
        """Let its host fail: the machine is SHUTOFF, and billed on."""
        lose(self.fleet, machine_id)

    # Offers -----------------------------------------------------------------------------------------

    async def _flavors(self, _request: web.Request) -> web.Response:
        groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.flavors:
            groups.setdefault((row["gpu"], row["region_name"]), []).append(row)
        data = [
            {"gpu": gpu, "region_name": region, "flavors": rows}
            for (gpu, region), rows in groups.items()
        ]
        return good({"data": data})

    async def _pricebook(self, _request: web.Request) -> web.Response:
        rows = [
            {
                "id": number,
                "name": name,
                "value": value,
                "original_value": value,
                "discount_applied": False,
                "start_time": None,
                "end_time": None,
            }
            for number, (name, value) in enumerate(self.prices.items(), 1)
        ]
        return as_json(rows)

    # Machines ---------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        chosen = self._flavor_of(body)
        if fault := self._fault_in(body, chosen):
            return refused(400, fault, "bad_request")
        alive = {one.name for one in self.fleet.machines.values() if one.gone_s is None}
        if self.has_unique_names and body["name"] in alive:
            return refused(409, f"Virtual machine {body['name']} already exists", "conflict")
        usd_h = self.prices[chosen["gpu"]] * chosen["gpu_count"]
        usd_h += self.prices["Public IP"] if body.get("assign_floating_ip") else 0.0
        machine = self.fleet.make(
            str(body["name"]),
            usd_h,
            stopped_usd_h=usd_h,
            spec={"body": dict(body), "flavor": chosen},
            script=script_in(str(body.get("user_data") or "")),
        )
        return good({"instances": [{**self._row(machine), "status": "CREATING"}]})

    def _flavor_of(self, body: Mapping[str, Any]) -> dict[str, Any]:
        region = str(body.get("environment_name")).removeprefix("default-")
        rows = [row for row in self.flavors if row["name"] == body.get("flavor_name")]
        fitting = [row for row in rows if row["region_name"] == region]
        return fitting[0] if fitting else {}

    def _fault_in(self, body: Mapping[str, Any], chosen: Mapping[str, Any]) -> str:
        if body.get("environment_name") not in self.environments:
            return "Environment doesn't exist"
        if body.get("key_name") not in self.keys:
            return "Keypair doesn't exist in the environment"
        if len(str(body.get("name") or "")) > NAME_MAX or body.get("count") != 1:
            return "Validation error: name, count"
        if not chosen:
            return "Flavor doesn't exist"
        return "" if chosen["stock_available"] else NO_CAPACITY

    async def _list(self, request: web.Request) -> web.Response:
        each = max(1, min(int(request.query.get("pageSize") or 10), self.page_max))
        page = int(request.query.get("page") or self.first_page)
        found = [one for one in self.fleet.listed() if one.state is not State.GONE]
        if wanted := request.query.get("search"):
            found = [one for one in found if wanted in one.name]
        start = max(0, page - self.first_page) * each
        rows = [self._row(one) for one in found[start : start + each]]
        return good({"instances": rows, "count": len(found), "page": page, "page_size": each})

    async def _name(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        taken = any(one.name == name for one in self.fleet.listed())
        return good({"available": not taken, "name": name})

    async def _get(self, request: web.Request) -> web.Response:
        machine = self._found(request)
        return not_found() if machine is None else good({"instance": self._row(machine)})

    async def _delete(self, request: web.Request) -> web.Response:
        machine = self._found(request)
        if machine is None:
            return not_found()
        if machine.state is State.BOOTING:
            return refused(409, WAIT, "conflict")
        if machine.state is State.ENDING:
            return refused(409, "Virtual machine is already being deleted", "conflict")
        self.fleet.end(machine.id)
        return good({})

    async def _change(self, request: web.Request) -> web.Response:
        """Do what a GET does here, though no GET should: stop, start and restart machines."""
        machine = self._found(request)
        if machine is None:
            return not_found()
        if request.path.endswith(("stop", "hibernate")):
            self.fleet.stop(machine.id)
        else:
            self.fleet.resurrect(machine.id)
        return good({})

    def _found(self, request: web.Request) -> Machine | None:
        machine = self.fleet.seen(request.match_info["id"])
        return None if machine is None or machine.state is State.GONE else machine

    def _row(self, machine: Machine) -> dict[str, Any]:
        body: Mapping[str, Any] = machine.spec["body"]  # pyright: ignore[reportAssignmentType]
        chosen: Mapping[str, Any] = machine.spec["flavor"]  # pyright: ignore[reportAssignmentType]
        names = ("id", "name", "cpu", "ram", "disk", "ephemeral", "gpu", "gpu_count", "features")
        running = machine.state is State.RUNNING
        region = chosen["region_name"]
        return {
            "id": int(machine.id),
            "name": machine.name,
            "status": self.word(machine, WORDS),
            "vm_state": "active" if running else "building",
            "power_state": "RUNNING" if running else "NOSTATE",
            "created_at": "2026-01-01T00:00:00",
            "fixed_ip": "10.0.0.5",
            "floating_ip": "203.0.113.42" if running else None,
            "floating_ip_status": "ATTACHED" if running else "ATTACHING",
            "labels": list(body.get("labels") or []),
            "flavor": {**{name: chosen[name] for name in names}, "labels": []},
            "environment": {"id": 1, "name": body["environment_name"], "region": region},
            "image": {"name": body["image_name"]},
            "keypair": {"name": body["key_name"]},
            "security_rules": [],
            "volume_attachments": [],
            "locked": False,
        }


def good(fields: Mapping[str, Any]) -> web.Response:
    """Give an answer that says of itself that it is good."""
    return as_json({"status": True, "message": "OK", **fields})


def refused(status: int, text: str, reason: str) -> web.Response:
    """Give an error in Hyperstack's shape."""
    return as_json({"status": False, "message": text, "error_reason": reason}, status)


def not_found() -> web.Response:
    """Give the answer for what is not there."""
    return refused(404, "Virtual machine doesn't exist", "not_found")
