"""RunPod on loopback: REST v2 with its catalogue, pods, problems and limits, and GraphQL beside it."""

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.runpod.legacy import NO_CAPACITY, Legacy
from vaultlayer_actors.drivers.runpod.market import (
    DATA_CENTERS,
    catalogue,
    rule_broken,
    violations,
)
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "PROVISIONING",
    State.RUNNING: "RUNNING",
    State.STOPPED: "EXITED",
    State.EXITED: "EXITED",
    State.FAILED: "ERROR",
    State.ENDING: "EXITED",
    State.GONE: "TERMINATED",
}
ACTIONS = {
    "PROVISIONING": ["stop", "terminate"],
    "STARTING": ["stop", "terminate"],
    "RUNNING": ["stop", "restart", "terminate"],
    "EXITED": ["start", "terminate"],
    "ERROR": ["terminate"],
}
NONE_HERE = (
    "There are no instances available with the request specifications. Please try again later."
)
LIMITS = {
    "RateLimit": '"minute";r=50;t=12, "hour";r=2800;t=1812, "day";r=49500;t=45012',
    "RateLimit-Policy": '"minute";q=60;w=60, "hour";q=3000;w=3600, "day";q=50000;w=86400',
}
TITLES = {
    400: "Bad Request",
    401: "Unauthorized",
    402: "Payment Required",
    403: "Forbidden",
    404: "Not Found",
    409: "Conflict",
    422: "Unprocessable Entity",
    429: "Too Many Requests",
}


def pod_id(number: int) -> str:
    """Give an id of RunPod's kind: short, lower case, letters and digits."""
    return f"{number:x}k2m4n6pq"


class RunpodSimulator(Simulator):
    """One account. `gpus` is the catalogue, by the GPU's id; a test may change it."""

    id_of = staticmethod(pod_id)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.gpus = catalogue()
        self.retry_after_s = 3
        """What a 429 asks for, in whole seconds."""
        self.route("GET", "/v2/catalog/gpus", "offers", self._catalog)
        self.route("POST", "/v2/pods", "create", self._create)
        self.route("GET", "/v2/pods", "list", self._list)
        self.route("GET", "/v2/pods/{id}", "get", self._get)
        self.route("DELETE", "/v2/pods/{id}", "terminate", self._delete)
        self.route("POST", "/v2/pods/{id}/action", "action", self._act)
        self.legacy = Legacy(self.fleet, self.gpus, command_of)
        self.route("POST", "/graphql", "graphql", self.legacy.answer)

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept the account's key, and a pod's own key for its own end."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        own = f"pod-key-{request.match_info.get('id', '')}"
        return given == self.key or (request.method == "DELETE" and given == own)

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give RunPod's own words for a failure."""
        details = {401: "invalid bearer token", 403: "access denied", 429: "rate limit exceeded"}
        answer = problem(status, (fault and fault.text) or details.get(status, "upstream failure"))
        if status == 429:
            answer.headers["Retry-After"] = str(self.retry_after_s)
        return answer

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give RunPod's refusals of a create: no code tells them apart from a broken rule."""
        if fault.kind == "balance":
            return problem(402, "insufficient balance")
        return problem(
            400, fault.text or (NO_CAPACITY if fault.kind == "no_capacity" else NONE_HERE)
        )

    def interrupt(self, machine_id: str) -> None:
        """Let its container end without a word."""
        self.fleet.kill(machine_id)

    def machine_environment(self, machine: Machine) -> dict[str, str]:
        """Give what RunPod puts into every pod."""
        return {
            "RUNPOD_POD_ID": machine.id,
            "RUNPOD_API_KEY": f"pod-key-{machine.id}",
            "RUNPOD_DC_ID": str(machine.spec.get("region") or "US-KS-2"),
            "RUNPOD_POD_HOSTNAME": f"{machine.id}-64411eb2",
            "RUNPOD_GPU_COUNT": str(machine.spec.get("count", 1)),
            "RUNPOD_URL": self.url,
        }

    # Catalogue --------------------------------------------------------------------------------------

    async def _catalog(self, request: web.Request) -> web.Response:
        query = request.query
        with_stock = query.get("include") == "AVAILABILITY"
        if with_stock != ("product" in query):
            return problem(400, "product is required with include=AVAILABILITY, and only with it")
        cloud, count = query.get("cloud", "SECURE"), int(query.get("count", "1"))
        rows = [self._row(row, cloud, count, with_stock=with_stock) for row in self.gpus.values()]
        return told({"gpus": rows})

    def _row(
        self, row: Mapping[str, Any], cloud: str, count: int, *, with_stock: bool
    ) -> dict[str, Any]:
        shown = {name: value for name, value in row.items() if name != "stock"}
        if not with_stock:
            return shown
        fits = count <= row["maxCount"][cloud.lower()]
        stock = row["stock"][cloud] if fits else "NONE"
        shown["availability"] = stock
        if stock != "NONE":
            shown["dataCenters"] = [
                {"id": key, "name": name, "availability": stock}
                for key, name in DATA_CENTERS.items()
            ]
        return shown

    # Pods -------------------------------------------------------------------------------------------

    async def _create(self, request: web.Request) -> web.Response:
        body = json.loads(await request.read())
        if broken := violations(body):
            return problem(422, "Request validation failed.", broken)
        if rule := rule_broken(body):
            return problem(400, rule)
        if self.faults.take("create", "no_pool"):
            return problem(403, "account cannot access the requested pool")
        row = self.gpus.get(body["gpu"]["id"]) if "gpu" in body else None
        cloud, count = body.get("cloud", "SECURE"), int(body.get("gpu", {}).get("count", 1))
        regions: list[str] = body.get("dataCenterIds") or list(DATA_CENTERS)
        known = [region for region in regions if region in DATA_CENTERS]
        if row is None or row["stock"][cloud] == "NONE" or not known:
            return problem(400, NONE_HERE)
        if count > row["maxCount"][cloud.lower()]:
            return problem(400, NO_CAPACITY)
        machine = self.fleet.make(
            body["name"],
            row["price"][cloud.lower()] * count + body.get("disk", 20) * 0.10 / 730,
            spec={"body": body, "count": count, "region": known[0]},
            env=dict(body.get("env") or {}),
            script=command_of(body.get("args") or ""),
        )
        return told(self._pod(machine), 201)

    async def _list(self, _request: web.Request) -> web.Response:
        machines = [one for one in self.fleet.listed() if one.state is not State.GONE]
        return told({"pods": [self._pod(machine) for machine in machines]})

    async def _get(self, request: web.Request) -> web.Response:
        machine = self._there(request)
        return problem(404, "pod not found") if machine is None else told(self._pod(machine))

    async def _delete(self, request: web.Request) -> web.Response:
        machine = self._there(request)
        if machine is None:
            return problem(404, "pod not found")
        if self.faults.take("terminate", "cluster"):
            return problem(409, "pod belongs to a cluster")
        self.fleet.end(machine.id)
        return web.Response(status=204, headers=LIMITS)

    async def _act(self, request: web.Request) -> web.Response:
        machine = self._there(request)
        if machine is None:
            return problem(404, "pod not found")
        action = json.loads(await request.read()).get("action")
        if action not in ACTIONS.get(self.word(machine, WORDS) or "", []):
            return problem(409, f"{action} is not possible now")
        if action == "terminate":
            self.fleet.end(machine.id)
            return web.Response(status=204, headers=LIMITS)
        if action != "start":
            self.fleet.stop(machine.id)
        if action != "stop":
            self.fleet.resurrect(machine.id)
        return told(self._pod(machine))

    def _there(self, request: web.Request) -> Machine | None:
        machine = self.fleet.seen(request.match_info["id"])
        return None if machine is None or machine.state is State.GONE else machine

    def _pod(self, machine: Machine) -> dict[str, Any]:
        body: Mapping[str, Any] = machine.spec.get("body") or {}  # pyright: ignore[reportAssignmentType]
        status = self.word(machine, WORDS) or ""
        runs = machine.state is State.RUNNING
        now_s = self.clock.now_s()
        started_s = machine.running_s
        return {
            "id": machine.id,
            "name": machine.name,
            "image": body.get("image", ""),
            "args": body.get("args", ""),
            "disk": body.get("disk", 20),
            "ports": body.get("ports", []),
            "env": machine.env,
            "registry": body.get("registry"),
            "status": status,
            "actions": ACTIONS.get(status, []),
            "mounts": body.get("mounts", {}),
            "gpu": {"id": body.get("gpu", {}).get("id", ""), "count": machine.spec.get("count", 1)},
            "cloud": body.get("cloud", "SECURE"),
            "dataCenterId": machine.spec.get("region"),
            "cudaVersion": "12.8",
            "ssh": {"proxy": None, "direct": None},
            "template": None,
            "cost": 0.0 if status == "EXITED" else machine.price_usd_h,
            "locked": False,
            "globalNetworking": {"enabled": False},
            "runtime": {"uptime": int(now_s - (started_s or now_s)), "ports": []} if runs else None,
            "createdAt": time_of(machine.created_s),
            "startedAt": None if started_s is None else time_of(started_s),
        }


def command_of(args: str) -> str:
    """Give what a container runs, as sh: the one string of arguments is split as a shell would."""
    return f"exec {shlex.join(shlex.split(args))}" if args else ""


def time_of(at_s: float) -> str:
    """Give seconds as a date and time of RFC 3339."""
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def told(value: object, status: int = 200) -> web.Response:
    """Give an answer with the headers that tell what is left of the limits."""
    answer = as_json(value, status)
    answer.headers.update(LIMITS)
    return answer


def problem(status: int, detail: str, errors: list[str] | None = None) -> web.Response:
    """Give an error in RunPod's shape."""
    title = TITLES.get(status, "Internal Server Error")
    body = {"title": title, "status": status, "detail": detail, "errors": errors or []}
    answer = as_json({key: value for key, value in body.items() if value}, status)
    answer.content_type = "application/problem+json"
    return answer
