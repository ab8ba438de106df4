"""Instance metadata of simulated machines: each machine has a base URL of its own, told in its environment.

A real machine asks 169.254.169.254, where nobody else listens. Here the base is
`<simulator>/_meta/<machine>`, given to the machine as `VAULTLAYER_METADATA_URL`; a watcher in the agent
takes that variable in place of the real address.
"""

from collections.abc import Awaitable, Callable

from aiohttp import web

from vaultlayer_actors.simulator.machine import Machine
from vaultlayer_actors.simulator.server import Simulator

VARIABLE = "VAULTLAYER_METADATA_URL"

Answer = Callable[[web.Request, Machine, str], Awaitable[web.Response]]
"""Takes the request, the machine that asks and the path below its base (no leading slash)."""


def serve_metadata(simulator: Simulator, answer: Answer) -> None:
    """Let a simulator's machines ask for their metadata; call it in the simulator's `__init__`."""

    async def serve(request: web.Request) -> web.StreamResponse:
        simulator.fleet.tick()
        machine = simulator.fleet.machines.get(request.match_info["machine"])
        if machine is None or machine.gone_s is not None:
            raise web.HTTPNotFound
        if simulator.faults.take("metadata", "503"):
            return web.Response(status=503)
        return await answer(request, machine, request.match_info["path"])

    simulator.route_openly("/_meta/{machine}/{path:.*}", serve)


def metadata_url(simulator: Simulator, machine: Machine) -> str:
    """Give the base URL of a machine's metadata."""
    return f"{simulator.url}/_meta/{machine.id}"


def time_left_s(simulator: Simulator, machine: Machine) -> float | None:
    """Give for how long a machine that has notice will still live; None without notice."""
    if machine.notice_s is None:
        return None
    return max(0.0, machine.notice_s - simulator.clock.now_s())
