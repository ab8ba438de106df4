"""Lambda on loopback: types, launches, instances, keys, and its limits of calls."""

import base64
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.lambda_cloud.market import REGIONS, catalogue, violation
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Handler, Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "booting",
    State.RUNNING: "active",
    State.STOPPED: "preempted",
    State.EXITED: "unhealthy",
    State.FAILED: "unhealthy",
    State.ENDING: "terminating",
    State.GONE: "terminated",
}
LIMITS_S = {"*": 0.9, "create": 11.5}
"""A tenth less than the documented second and twelve seconds: networks let calls draw closer."""
ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
NOT_YET = {"available": False, "reason_code": "vm-has-not-launched"}
SUGGESTION = "Try again later. Contact Support if the problem persists."


def instance_id(number: int) -> str:
    """Give an id of Lambda's kind: 32 hexadecimal digits."""
    return f"0920582c7ff04139{number:016x}"


class LambdaSimulator(Simulator):
    """One account. `types` is what it offers, by name; a test may change it."""

    id_of = staticmethod(instance_id)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.types = catalogue()
        self.ssh_keys = ["somebodys-laptop", "ci"]
        self.families = {"lambda-stack-24-04", "lambda-stack-22-04", "gpu-base-24-04"}
        self.limits_s: dict[str, float] = dict(LIMITS_S)
        """Least seconds between calls; `*`: between any two. Empty: no limit."""
        self.end_of_gone = 404
        """What a terminate answers for an instance that is terminated already: 404 or 200."""
        self.last_s: dict[str, float] = {}
        """When each call was last served."""
        self._tags: dict[str, list[dict[str, str]]] = {}
        for method, path, call, handler in (
            ("GET", "instance-types", "offers", self._types),
            ("GET", "ssh-keys", "keys", self._keys),
            ("GET", "images", "images", self._images),
            ("GET", "regions", "regions", self._regions),
            ("POST", "instance-operations/launch", "create", self._launch),
            ("POST", "instance-operations/terminate", "terminate", self._terminate),
            ("GET", "instances", "list", self._list),
            ("GET", "instances/{id}", "get", self._get),
            ("POST", "instances/{id}", "rename", self._rename),
        ):
            self.route(method, f"/api/v1/{path}", call, self._limited(call, handler))

    def _limited(self, call: str, handler: Handler) -> Handler:
        async def answer(request: web.Request) -> web.StreamResponse:
            now_s = self.clock.now_s()
            for key in (call, "*"):
                since_s = now_s - self.last_s.get(key, float("-inf"))
                if since_s < self.limits_s.get(key, 0.0):
                    return self.failure(429)
            self.last_s[call] = self.last_s["*"] = now_s
            return await handler(request)

        return answer

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the key as a bearer token, and as the user of basic authentication."""
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            value = base64.b64decode(value).decode(errors="replace").partition(":")[0]
        return value.strip() == self.key

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Lambda's own words for a failure; that of a 429 is not documented, so it has none."""
        if status == 429:
            return web.Response(status=429)
        if fault and fault.text:
            return failed(status, fault.text, "The provider could not be reached.")
        known = {
            401: ("global/invalid-api-key", "API key was invalid, expired, or deleted."),
            403: ("global/forbidden", "This key may not do that."),
        }
        code, message = known.get(status, ("global/internal-error", "An internal error occurred."))
        return failed(status, code, message)

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Lambda's refusals of a launch."""
        if fault.kind == "balance":
            return failed(403, "global/account-inactive", "Your account is inactive.")
        if fault.text:
            return failed(400, fault.text, "Quota exceeded.")
        return sold_out()

    def interrupt(self, machine_id: str) -> None:
        """Preempt it: it is listed as such, and nobody knows of a notice."""
        self.fleet.outbid(machine_id)

    # Account ----------------------------------------------------------------------------------------

    async def _types(self, _request: web.Request) -> web.Response:
        return as_json({"data": self.types})

    async def _keys(self, _request: web.Request) -> web.Response:
        rows = [
            {"id": f"{number:032x}", "name": name, "public_key": f"ssh-ed25519 AAAA {name}"}
            for number, name in enumerate(self.ssh_keys)
        ]
        return as_json({"data": rows})

    async def _images(self, _request: web.Request) -> web.Response:
        rows = [
            {
                "id": f"{number:032x}",
                "created_time": "2026-06-01T12:00:00Z",
                "updated_time": "2026-06-01T12:00:00Z",
                "name": family,
                "description": family,
                "family": family,
                "version": "1.0.0",
                "architecture": "x86_64",
                "region": region_of(region),
            }
            for number, family in enumerate(sorted(self.families))
            for region in REGIONS
        ]
        return as_json({"data": rows})

    async def _regions(self, _request: web.Request) -> web.Response:
        return as_json({"data": [region_of(name) for name in REGIONS]})

    # Instances --------------------------------------------------------------------------------------

    async def _launch(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if broken := violation(body):
            return failed(400, "global/invalid-parameters", broken)
        kind = self.types.get(body["instance_type_name"])
        image: Mapping[str, str] = body.get("image") or {}
        family = image.get("family")
        if (
            kind is None
            or body["region_name"] not in REGIONS
            or body["ssh_key_names"][0] not in self.ssh_keys
            or (family and family not in self.families)
        ):
            return missing("What the launch names does not exist.")
        regions = {one["name"] for one in kind["regions_with_capacity_available"]}
        if body["region_name"] not in regions:
            return sold_out()
        user_data = str(body.get("user_data") or "")
        machine = self.fleet.make(
            str(body.get("name") or ""),
            kind["instance_type"]["price_cents_per_hour"] / 100,
            spec={"body": body, "type": kind["instance_type"]},
            script=user_data if user_data.startswith("#!") else "",
        )
        self._tags[machine.id] = body.get("tags") or []
        return as_json({"data": {"instance_ids": [machine.id]}})

    async def _terminate(self, request: web.Request) -> web.Response:
        ids: list[str] = json.loads(await request.read())["instance_ids"]
        machines = [self.fleet.seen(one) for one in ids]
        ended = [one for one in machines if one is not None and self._may_end(one)]
        if len(ended) != len(ids):
            return missing("Specified instance does not exist.")
        for machine in ended:
            self.fleet.end(machine.id)
        rows = [{**self._row(machine), "status": "terminating"} for machine in ended]
        return as_json({"data": {"terminated_instances": rows}})

    def _may_end(self, machine: Machine) -> bool:
        return machine.state is not State.GONE or self.end_of_gone == 200

    async def _list(self, _request: web.Request) -> web.Response:
        return as_json({"data": [self._row(machine) for machine in self.fleet.listed()]})

    async def _get(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None:
            return missing("Specified instance does not exist.", 404)
        return as_json({"data": self._row(machine)})

    async def _rename(self, request: web.Request) -> web.Response:
        machine = self.fleet.seen(request.match_info["id"])
        if machine is None:
            return missing("Specified instance does not exist.", 404)
        machine.name = str(json.loads(await request.read())["name"])
        return as_json({"data": self._row(machine)})

    def _row(self, machine: Machine) -> dict[str, Any]:
        body: Mapping[str, Any] = machine.spec.get("body") or {}  # pyright: ignore[reportAssignmentType]
        kind: Any = machine.spec.get("type") or self.types["gpu_1x_a10"]["instance_type"]
        boots = machine.state is State.BOOTING
        address = "198.51.100.2"
        return {
            "id": machine.id,
            "name": machine.name,
            "status": self.word(machine, WORDS),
            "ssh_key_names": body.get("ssh_key_names", []),
            "file_system_names": [],
            "region": region_of(body.get("region_name", "us-west-1")),
            "instance_type": kind,
            "is_reserved": False,
            "tags": self._tags.get(machine.id, []),
            "actions": dict.fromkeys(ACTIONS, NOT_YET if boots else {"available": True}),
            **({} if boots else {"ip": address, "private_ip": "10.0.2.100", "hostname": address}),
        }


def region_of(name: str) -> dict[str, str]:
    """Give a region in Lambda's words."""
    return {"name": name, "description": REGIONS.get(name, name)}


def failed(status: int, code: str, message: str) -> web.Response:
    """Give an error in Lambda's envelope."""
    error = {"code": code, "message": message, "suggestion": SUGGESTION}
    return as_json({"error": error}, status)


def sold_out() -> web.Response:
    """Give the answer to a launch for which there is no machine."""
    code = "instance-operations/launch/insufficient-capacity"
    return failed(400, code, "Not enough capacity to fulfill launch request.")


def missing(message: str, status: int = 404) -> web.Response:
    """Give the answer for something that does not exist."""
    return failed(status, "global/object-does-not-exist", message)
