"""Compute Engine on loopback: zonal machines, operations that fail after a success, preemption."""

import itertools
import json
import ssl
import uuid
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from vaultlayer.driver import Clock
from vaultlayer_actors.drivers.gcp.catalogue import KINDS, price_usd_h
from vaultlayer_actors.drivers.gcp.market import ZONES, accelerator_types, machine_types, matches
from vaultlayer_actors.drivers.gcp.reading import TAKEN, TARGET, handle, last, region_of
from vaultlayer_actors.drivers.gcp.simulated_accounts import PROJECT, fault_of, key_file
from vaultlayer_actors.simulator.faults import Fault
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.metadata import VARIABLE, metadata_url, serve_metadata
from vaultlayer_actors.simulator.runner import Runner
from vaultlayer_actors.simulator.server import Simulator, as_json

WORDS: dict[State, str | None] = {
    State.BOOTING: "STAGING",
    State.RUNNING: "RUNNING",
    State.STOPPED: "TERMINATED",
    State.EXITED: "TERMINATED",
    State.FAILED: "TERMINATED",
    State.ENDING: "STOPPING",
    State.GONE: None,
}
PAGE_MAX = 25
_WORDS = {
    "QUOTA_EXCEEDED": "Quota 'PREEMPTIBLE_NVIDIA_A100_GPUS' exceeded. Limit: 0.0 in region us-west4.",
    "QUOTA_EVERYWHERE": "Quota 'GPUS_ALL_REGIONS' exceeded. Limit: 0.0 globally.",
}
DISK_USD_GB_H = 0.10 / 730
HOME = "us-central1-a"


def id_of(number: int) -> str:
    """Give the id of a machine that nobody has asked for over the API."""
    return handle(HOME, f"machine-{number}")


class GcpSimulator(Simulator):
    """One project. `key` is its service account's key file, once it is served."""

    id_of = staticmethod(id_of)

    def __init__(
        self, clock: Clock | None = None, runner: Runner | None = None, *, key: str = "sim-key"
    ) -> None:
        super().__init__(clock, runner, key=key)
        self.tokens: dict[str, float] = {}
        """Access token → when it ends."""
        self.token_s = 3600.0
        self.throttled_status = 429
        """403 is the other way in which Google says `rateLimitExceeded`."""
        self.second_delete = "operation"
        """Or `not_ready`: what a delete answers while one is under way."""
        self.operations: dict[str, dict[str, Any]] = {}
        self._seen: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self._routes()

    def _routes(self) -> None:
        base = "/compute/v1/projects/{project}"
        zone = f"{base}/zones/{{zone}}"
        self.route("GET", f"{base}/aggregated/machineTypes", "offers", self._machine_types)
        self.route("GET", f"{base}/aggregated/acceleratorTypes", "offers", self._accelerators)
        self.route("GET", f"{base}/aggregated/instances", "list", self._aggregated)
        self.route("GET", f"{zone}/instances", "list", self._zonal)
        self.route("POST", f"{zone}/instances", "create", self._insert)
        self.route("GET", f"{zone}/instances/{{name}}", "get", self._get)
        self.route("DELETE", f"{zone}/instances/{{name}}", "terminate", self._delete)
        self.route("GET", f"{zone}/operations", "operations", self._preemptions)
        self.route("GET", f"{zone}/operations/{{name}}", "operation", self._operation)
        self.route("POST", f"{zone}/operations/{{name}}/wait", "operation", self._operation)
        self.route_openly("/token", self._token)
        serve_metadata(self, self._metadata)

    @asynccontextmanager
    async def serve(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> AsyncGenerator[str]:
        """Serve on loopback; the key file names the token endpoint, so it is known only now."""
        async with super().serve(port=port, tls=tls) as url:
            self.key = key_file(url)
            yield url

    def secrets(self) -> dict[str, str]:
        """Give the key file."""
        return {"service_account": self.key}

    def forget_tokens(self) -> None:
        """Let the time be over for which a request id is remembered."""
        self._seen.clear()

    # What goes wrong --------------------------------------------------------------------------------

    def is_authorised(self, request: web.Request) -> bool:
        """Accept a token that has not ended."""
        given = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        return self.tokens.get(given, 0.0) > self.clock.now_s()

    def failure(self, status: int, fault: Fault | None = None) -> web.Response:
        """Give Google's own words for a failure."""
        del fault
        if status == 429:
            return refused(self.throttled_status, "rateLimitExceeded", "Rate Limit Exceeded")
        reason, text, word = {
            401: ("required", "Login Required.", "UNAUTHENTICATED"),
            403: ("forbidden", "Required 'compute.instances.create'", "PERMISSION_DENIED"),
        }.get(status, ("backendError", "Backend Error", "UNAVAILABLE"))
        return refused(status, reason, text, word)

    def refusal(self, fault: Fault) -> web.Response | None:
        """Give Google's refusals: a full zone is a good answer whose operation fails."""
        if fault.kind == "balance":
            text = "This API method requires billing to be enabled."
            return refused(403, "forbidden", text, "PERMISSION_DENIED", detail="BILLING_DISABLED")
        if fault.kind == "offer_gone":
            text = "The resource 'machineTypes/a2-highgpu-1g' was not found"
            return refused(404, "notFound", text)
        code = fault.text or "ZONE_RESOURCE_POOL_EXHAUSTED"
        text = _WORDS.get(code, "The zone does not have enough resources available.")
        code = "QUOTA_EXCEEDED" if code.startswith("QUOTA") else code
        return as_json(self._begin("insert", HOME, "", error=(code, text)))

    def interrupt(self, machine_id: str) -> None:
        """Preempt it, with no notice that anybody waits for."""
        self.fleet.preempt(machine_id, 0.0)

    def machine_environment(self, machine: Machine) -> dict[str, str]:
        """Tell where the metadata are; a real machine asks metadata.google.internal."""
        return {VARIABLE: metadata_url(self, machine)}

    async def _metadata(self, request: web.Request, machine: Machine, path: str) -> web.Response:
        if request.headers.get("Metadata-Flavor") != "Google":
            return web.Response(status=403, text="Missing Metadata-Flavor:Google header.")
        if path != "computeMetadata/v1/instance/preempted":
            return web.Response(status=404)
        text = "FALSE" if machine.notice_s is None else "TRUE"
        return web.Response(text=text, headers={"Metadata-Flavor": "Google"})

    async def _token(self, request: web.Request) -> web.Response:
        if self.faults.take("token", "503"):
            return web.Response(status=503, text="try again")
        form = await request.post()
        given = {name: str(form.get(name, "")) for name in ("grant_type", "assertion")}
        if fault := fault_of(given["grant_type"], given["assertion"], self.url):
            return as_json({"error": fault, "error_description": "Invalid JWT Signature."}, 400)
        token = f"ya29.sim-{len(self.tokens)}"
        self.tokens[token] = self.clock.now_s() + self.token_s
        body = {"access_token": token, "expires_in": int(self.token_s), "token_type": "Bearer"}
        return as_json(body)

    # Offers -----------------------------------------------------------------------------------------

    async def _machine_types(self, request: web.Request) -> web.Response:
        return self._types(request, "machineTypes", machine_types)

    async def _accelerators(self, request: web.Request) -> web.Response:
        return self._types(request, "acceleratorTypes", accelerator_types)

    def _types(
        self, request: web.Request, kind: str, rows_of: Callable[[str], list[dict[str, Any]]]
    ) -> web.Response:
        text = request.query.get("filter", "")
        rows = [(zone, row) for zone in ZONES for row in rows_of(zone) if matches(row, text)]
        return self._page(request, kind, rows)

    # Machines ---------------------------------------------------------------------------------------

    async def _insert(self, request: web.Request) -> web.Response:
        if self.faults.take("create", "api_disabled"):
            text = "Compute Engine API has not been used in project 1 before or it is disabled."
            detail = "SERVICE_DISABLED"
            return refused(403, "accessNotConfigured", text, "PERMISSION_DENIED", detail=detail)
        zone = request.match_info["zone"]
        body = json.loads(await request.read())
        token = request.query.get("requestId", "")
        if token and not _is_uuid(token):
            return refused(400, "invalid", "Invalid value for field 'requestId'")
        if token in self._seen:
            return as_json(self.operations[self._seen[token]])
        machine_type = last(str(body["machineType"]))
        if machine_type not in {row["name"] for row in machine_types(zone)}:
            return refused(404, "notFound", f"The resource '{machine_type}' was not found")
        if self._machine(zone, body["name"]) is not None:
            return refused(409, "alreadyExists", f"The resource '{body['name']}' already exists")
        self._make(zone, body, machine_type)
        operation = self._begin("insert", zone, body["name"])
        self._seen[token] = operation["name"]
        return as_json(operation)

    def _make(self, zone: str, body: dict[str, Any], machine_type: str) -> None:
        spot = body["scheduling"]["provisioningModel"] == "SPOT"
        extras: list[dict[str, str]] = body.get("guestAccelerators") or []
        accelerator = last(extras[0]["acceleratorType"]) if extras else ""
        kind = next(
            one
            for one in KINDS
            if (one.machine_type, one.accelerator) == (machine_type, accelerator)
        )
        disk = body["disks"][0]["initializeParams"]
        disk_usd_h = float(disk["diskSizeGb"]) * DISK_USD_GB_H
        metadata: dict[str, list[dict[str, str]]] = body.get("metadata") or {}
        items = metadata.get("items", [])
        self.fleet.make(
            body["name"],
            (price_usd_h(kind, region_of(zone), {}, spot=spot) or 1.0) + disk_usd_h,
            machine_id=handle(zone, body["name"]),
            stopped_usd_h=disk_usd_h,
            spec={"body": body, "number": str(10**18 + next(self._numbers))},
            script=next((one["value"] for one in items if one["key"] == "startup-script"), ""),
        )

    async def _aggregated(self, request: web.Request) -> web.Response:
        return self._page(request, "instances", self._rows(request))

    async def _zonal(self, request: web.Request) -> web.Response:
        zone = request.match_info["zone"]
        rows = [row for where, row in self._rows(request) if where == zone]
        body: dict[str, Any] = {"kind": "compute#instanceList", "id": "x", "selfLink": self.url}
        return as_json({**body, **({"items": rows} if rows else {})})

    def _rows(self, request: web.Request) -> list[tuple[str, dict[str, Any]]]:
        text = request.query.get("filter", "")
        shown = [one for one in self.fleet.listed() if one.state is not State.GONE]
        rows = [(_zone(machine), self._row(machine)) for machine in shown]
        return sorted(
            ((zone, row) for zone, row in rows if matches(row, text)),
            key=lambda pair: (pair[0], pair[1]["name"]),
        )

    def _page(
        self, request: web.Request, kind: str, rows: list[tuple[str, dict[str, Any]]]
    ) -> web.Response:
        begin = int(request.query.get("pageToken") or 0)
        size = min(int(request.query.get("maxResults") or PAGE_MAX), PAGE_MAX)
        items: dict[str, dict[str, Any]] = {}
        for zone, row in rows[begin : begin + size]:
            items.setdefault(f"zones/{zone}", {kind: []})[kind].append(row)
        nothing = {"code": "NO_RESULTS_ON_PAGE", "message": "No results on this page."}
        for zone in ZONES:
            items.setdefault(f"zones/{zone}", {"warning": nothing})
        body: dict[str, Any] = {"kind": f"compute#{kind}AggregatedList", "id": "x", "items": items}
        if fault := self.faults.take("zones", "unreachable"):
            lost = {"code": "UNREACHABLE", "message": "did not answer"}
            items[f"zones/{fault.text}"] = {"warning": lost}
            body["unreachables"] = [f"projects/{PROJECT}/zones/{fault.text}"]
        if begin + size < len(rows):
            body["nextPageToken"] = str(begin + size)
        return as_json(body)

    async def _get(self, request: web.Request) -> web.Response:
        zone, name = request.match_info["zone"], request.match_info["name"]
        machine = self._machine(zone, name)
        if machine is None or self.fleet.seen(machine.id) is None:
            return refused(404, "notFound", f"The resource '{name}' was not found")
        return as_json(self._row(machine))

    async def _delete(self, request: web.Request) -> web.Response:
        zone, name = request.match_info["zone"], request.match_info["name"]
        machine = self._machine(zone, name)
        if machine is None:
            return refused(404, "notFound", f"The resource '{name}' was not found")
        if machine.state is State.ENDING and self.second_delete == "not_ready":
            return refused(400, "resourceNotReady", f"The resource '{name}' is not ready")
        self.fleet.end(machine.id)
        return as_json(self._begin("delete", zone, name))

    def _machine(self, zone: str, name: str) -> Machine | None:
        self.fleet.tick()
        for machine in self.fleet.machines.values():
            if machine.name == name and _zone(machine) == zone and machine.gone_s is None:
                return machine
        return None

    def _row(self, machine: Machine) -> dict[str, Any]:
        body: dict[str, Any] = machine.spec.get("body") or {}  # pyright: ignore[reportAssignmentType]
        zone, word = _zone(machine), self.word(machine, WORDS)
        if machine.notice_s is not None and "word" not in machine.spec:
            word = "STOPPING"
        labels = {"vaultlayer": machine.name} if machine.name.startswith("vl-") else {}
        return {
            "kind": "compute#instance",
            "id": str(machine.spec.get("number", "1")),
            "name": machine.name,
            "status": word,
            "zone": f"{TARGET}/projects/{PROJECT}/zones/{zone}",
            "machineType": f"{TARGET}/projects/{PROJECT}/{body.get('machineType', '')}",
            "labels": labels,
            "scheduling": body.get("scheduling") or {},
            "creationTimestamp": "2026-11-20T08:00:00.000-08:00",
        }

    # Operations -------------------------------------------------------------------------------------

    def _begin(
        self, kind: str, zone: str, name: str, *, error: tuple[str, str] | None = None
    ) -> dict[str, Any]:
        operation: dict[str, Any] = {
            "kind": "compute#operation",
            "id": str(10**18 + next(self._numbers)),
            "name": f"operation-{next(self._numbers)}",
            "operationType": kind,
            "status": "RUNNING",
            "progress": 0,
            "zone": f"{TARGET}/projects/{PROJECT}/zones/{zone}",
            "targetLink": f"{TARGET}/projects/{PROJECT}/zones/{zone}/instances/{name}",
            "insertTime": "2026-11-20T08:00:00.000-08:00",
        }
        done = {**operation, "status": "DONE", "progress": 100}
        if error is not None:
            fault = {"code": error[0], "message": error[1]}
            done |= {"error": {"errors": [fault]}, "httpErrorStatusCode": 503}
        self.operations[operation["name"]] = done
        return operation

    async def _operation(self, request: web.Request) -> web.Response:
        found = self.operations.get(request.match_info["name"])
        return as_json(found) if found else refused(404, "notFound", "no such operation")

    async def _preemptions(self, request: web.Request) -> web.Response:
        text = request.query.get("filter", "")
        zone = f"{TARGET}/projects/{PROJECT}/zones/{request.match_info['zone']}"
        rows = [
            {
                "name": f"preempted-{machine.name}",
                "operationType": TAKEN,
                "status": "DONE",
                "targetLink": f"{zone}/instances/{machine.name}",
            }
            for machine in self.fleet.machines.values()
            if machine.reason == "preempted"
        ]
        return as_json({"items": [row for row in rows if matches(row, text)]})


def _zone(machine: Machine) -> str:
    return machine.id.partition("@")[2]


def _is_uuid(text: str) -> bool:
    try:
        return uuid.UUID(text).int != 0
    except ValueError:
        return False


def refused(
    status: int, reason: str, text: str, word: str = "", *, detail: str = ""
) -> web.Response:
    """Give an error in Google's shape."""
    error: dict[str, Any] = {
        "code": status,
        "message": text,
        "errors": [{"message": text, "domain": "global", "reason": reason}],
    }
    if word:
        error["status"] = word
    if detail:
        kind = "type.googleapis.com/google.rpc.ErrorInfo"
        error["details"] = [{"@type": kind, "reason": detail, "domain": "googleapis.com"}]
    return as_json({"error": error}, status)
