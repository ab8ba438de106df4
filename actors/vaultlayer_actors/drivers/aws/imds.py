"""EC2's instance metadata, version 2, of simulated machines: no answer without a token."""

import itertools
import time
from datetime import UTC, datetime

from aiohttp import web

from vaultlayer_actors.simulator.machine import Machine
from vaultlayer_actors.simulator.metadata import serve_metadata, time_left_s
from vaultlayer_actors.simulator.server import Simulator, as_json

TOKEN = "X-aws-ec2-metadata-token"  # noqa: S105  the name of a header
LIFE = "X-aws-ec2-metadata-token-ttl-seconds"


class Imds:
    """The metadata service of all machines of a simulator."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._numbers = itertools.count(1)
        self._tokens: dict[str, str] = {}
        serve_metadata(simulator, self._answer)

    async def _answer(self, request: web.Request, machine: Machine, path: str) -> web.Response:
        if path == "latest/api/token":
            return self._issue(request, machine)
        if self._tokens.get(request.headers.get(TOKEN, "")) != machine.id:
            return web.Response(status=401)
        ends = self._ends(machine)
        texts = {
            "instance-id": machine.id,
            "instance-type": str(machine.spec.get("type", "")),
            "placement/availability-zone": str(machine.spec.get("zone", "")),
            "spot/termination-time": ends,
        }
        found = path.removeprefix("latest/meta-data/")
        if found == "spot/instance-action" and ends:
            return as_json({"action": "terminate", "time": ends})
        if found == "events/recommendations/rebalance" and "rebalance" in machine.spec:
            return as_json({"noticeTime": _iso(time.time())})
        if path == "latest/user-data":
            return web.Response(text=machine.script)
        return web.Response(text=texts[found]) if texts.get(found) else web.Response(status=404)

    def _issue(self, request: web.Request, machine: Machine) -> web.Response:
        if request.method != "PUT" or not request.headers.get(LIFE, "").isdigit():
            return web.Response(status=400)
        token = f"AQAEA-{machine.id}-{next(self._numbers)}"
        self._tokens[token] = machine.id
        return web.Response(text=token)

    def _ends(self, machine: Machine) -> str:
        left_s = time_left_s(self._simulator, machine)
        return "" if left_s is None else _iso(time.time() + left_s)


def _iso(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
