"""CloudRift on loopback: its types, its nameless instances, and the ways in which they go wrong."""

import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.cloud.bootstrap import told
from vaultlayer_actors.drivers.cloudrift.wire import VERSION
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Handler, Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "Initializing",
    State.RUNNING: "Active",
    State.STOPPED: "Inactive",
    State.EXITED: "Active",
    State.FAILED: "Initializing",
    State.ENDING: "Deactivating",
    State.GONE: "Inactive",
}
GIB = 1024**3
IMAGE = "https://storage.cloudrift.ai/vm-disks/ubuntu-noble-nvidia.img"

_SEED: list[tuple[str, str, int, int, float, dict[str, int]]] = [
    # brand, variant, GPUs, GiB of one, cents an hour, free nodes
    ("RTX 4090", "rtx49-10c-kn.1", 1, 24, 39, {"us-east-nc-nr-1": 3, "eu-west-1": 1}),
    ("RTX 4090", "rtx49-20c-kn.2", 2, 24, 78, {"us-east-nc-nr-1": 1}),
    ("RTX 5090", "rtx59-16c-nr.1", 1, 32, 65, {"us-east-nc-nr-1": 2}),
    ("RTX PRO 6000", "rtxpro6000-16c.1", 1, 96, 129, {"us-east-nc-nr-1": 0}),
    ("MI350X", "mi350x-16c.1", 1, 288, 250, {"us-east-nc-nr-1": 1}),
]


def variant(
    name: str, gpus: int, *, gib: int, cents_h: float, free: Mapping[str, int]
) -> dict[str, Any]:
    """Give one size in the vendor's words."""
    return {
        "name": name,
        "cost_per_hour": cents_h,
        "cpu_count": 10 * gpus,
        "logical_cpu_count": 20 * gpus,
        "dram": 48 * GIB * gpus,
        "disk": 500 * GIB,
        "vram": gib * GIB,
        "gpu_count": gpus,
        "nodes_per_dc": {place: max(1, count) for place, count in free.items()},
        "available_nodes_per_dc": dict(free),
    }


def image(name: str, url: str, *tags: str) -> dict[str, Any]:
    """Give one recipe of a VM image in the vendor's words."""
    return {"name": name, "tags": list(tags), "details": {"VirtualMachine": {"image_url": url}}}


def uuid_of(number: int) -> str:
    """Give the vendor's kind of id."""
    return f"0d1e51ee-0000-11f0-b000-{number:012d}"


class CloudRiftSimulator(Simulator):
    """One account. `variants` is what it may rent, by name; a test may change it.

    The machines' names are the simulator's own knowledge, read out of what they run: no answer has them.
    """

    id_of = staticmethod(uuid_of)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.variants: dict[str, tuple[str, dict[str, Any]]] = {
            name: (brand, variant(name, gpus, gib=gib, cents_h=cents_h, free=free))
            for brand, name, gpus, gib, cents_h, free in _SEED
        }
        self.readies = True
        """Whether the VM of an active instance is ready."""
        self.deaf_ends = 0
        """How many calls to terminate end nothing."""
        self.images = [
            image("Ubuntu 22.04 Server", f"{IMAGE}.22", "nvidia-driver"),
            image("Ubuntu 24.04 Server", IMAGE, "nvidia-driver"),
            image("Ubuntu 26.04 Server", f"{IMAGE}.amd", "amd-driver"),
        ]
        self.route("POST", "/api/v1/instance-types/list", "offers", self._types)
        self.route("POST", "/api/v1/recipes/list", "recipes", self._recipes)
        self.route("POST", "/api/v1/instances/rent", "create", self._rent)
        self.route("POST", "/api/v1/instances/list", "list", self._list)
        self.route("POST", "/api/v1/instances/terminate", "terminate", self._terminate)
        self.route("POST", "/api/v1/auth/me", "user", self._user)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the account's key; types are told to anybody."""
        return (
            request.path.endswith("instance-types/list")
            or request.headers.get("X-API-Key") == self.key
        )

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give a failure; the vendor documents no body, so it is plain text."""
        del fault
        words = {401: "Unauthorized", 403: "Forbidden", 429: "Too Many Requests"}
        return web.Response(status=status, text=words.get(status, "Internal Server Error"))

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give the refusals of a create: no capacity is a success without any machine."""
        if fault.kind == "balance":
            return web.Response(status=400, text="Insufficient balance")
        if fault.text:
            return web.Response(status=int(fault.value) or 400, text=fault.text)
        return wrapped({"instance_ids": []})

    async def _answer(
        self, request: web.Request, call: str, handler: Handler
    ) -> web.StreamResponse:
        """Tell a look at one machine from a listing: both are one call of the vendor's."""
        is_get = call == "list" and b'"ById"' in await request.read()
        return await super()._answer(request, "get" if is_get else call, handler)

    # Offers -----------------------------------------------------------------------------------------

    async def _types(self, _request: web.Request) -> web.Response:
        brands: dict[str, list[dict[str, Any]]] = {}
        for brand, row in self.variants.values():
            brands.setdefault(brand, []).append(row)
        types = [
            {"brand_short": brand, "manufacturer": "NVIDIA", "variants": rows}
            for brand, rows in brands.items()
        ]
        return wrapped({"instance_types": types})

    async def _recipes(self, _request: web.Request) -> web.Response:
        return wrapped({"groups": [{"name": "Linux", "tags": ["VM"], "recipes": self.images}]})

    # Machines ---------------------------------------------------------------------------------------

    async def _rent(self, request: web.Request) -> web.Response:
        data = await data_of(request)
        where = data["selector"]["ByInstanceTypeAndLocation"]
        _, row = self.variants.get(where["instance_type"], ("", None))
        places: list[str] = where.get("datacenters") or []
        if row is None or not any(row["available_nodes_per_dc"].get(one) for one in places):
            return wrapped({"instance_ids": []})
        vm = data["config"]["VirtualMachine"]
        if not str(vm.get("image_url") or "").startswith("https://"):
            return web.Response(status=400, text="image_url: not a URL")
        machine = self._instance(row, data)
        return wrapped({"instance_ids": [machine.id]})

    def _instance(self, row: Mapping[str, Any], data: dict[str, Any]) -> Machine:
        command = str(data["config"]["VirtualMachine"].get("cloudinit_commands") or "")
        try:
            boot = told({}, command)
            name = f"vl-{boot.job}-a{boot.attempt}"
        except (ValueError, IndexError):
            name = "somebody-elses"
        return self.fleet.make(
            name,
            float(row["cost_per_hour"]) / 100,
            spec={"data": data, "variant": row["name"]},
            script=command,
        )

    async def _list(self, request: web.Request) -> web.Response:
        selector = (await data_of(request))["selector"]
        if "ById" in selector:
            found = [self.fleet.seen(one) for one in selector["ById"]]
            rows = [self._row(one) for one in found if one is not None]
        else:
            rows = [self._row(one) for one in self.fleet.listed()]
            strange = {one.id for one in self.fleet.listed() if "word" in one.spec}
            wanted = set(selector["ByStatus"])
            rows = [row for row in rows if row["status"] in wanted or row["id"] in strange]
        return wrapped({"instances": rows})

    async def _terminate(self, request: web.Request) -> web.Response:
        selector = (await data_of(request))["selector"]
        ended: list[dict[str, Any]] = []
        if self.deaf_ends:
            self.deaf_ends -= 1
            return wrapped({"terminated": ended})
        for instance in selector.get("ById", []):
            machine = self.fleet.seen(instance)
            if machine is None or machine.state in {State.GONE, State.ENDING}:
                continue
            self.fleet.end(instance)
            ended.append({"id": instance})
        return wrapped({"terminated": ended})

    async def _user(self, _request: web.Request) -> web.Response:
        return wrapped({"email": "sim@example.org"})

    def _row(self, machine: Machine) -> dict[str, Any]:
        active = machine.state in {State.RUNNING, State.EXITED}
        return {
            "id": machine.id,
            "status": self.word(machine, WORDS),
            "node_id": "9b9b9b9b",
            "node_mode": "VirtualMachine",
            "host_address": "203.0.113.42",
            "port_mappings": [[22, 57001]],
            "resource_info": {"instance_type": machine.spec["variant"]},
            "instructions": None,
            "virtual_machines": [{"ready": self.readies}] if active else [],
        }


async def data_of(request: web.Request) -> dict[str, Any]:
    """Give what stands in a request's envelope; one without is refused."""
    body = json.loads(await request.read())
    if "version" not in body or "data" not in body:
        raise web.HTTPBadRequest(text="missing field `version` or `data`")
    return body["data"] or {}


def wrapped(data: object) -> web.Response:
    """Give an answer in CloudRift's envelope."""
    return as_json({"version": VERSION, "data": data})
