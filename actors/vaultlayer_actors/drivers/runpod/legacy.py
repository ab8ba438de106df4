"""The GraphQL API of a simulated RunPod, which its REST v2 replaces: the same pods, in other words."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from vaultlayer_actors.drivers.runpod.graphql import Field, parse, pick
from vaultlayer_actors.drivers.runpod.market import DATA_CENTERS
from vaultlayer_actors.simulator.fleet import Fleet
from vaultlayer_actors.simulator.machine import Machine, State
from vaultlayer_actors.simulator.server import as_json

BID_SHARE = 0.5
"""Lowest bid that wins, as a share of the price on demand: invented, no source has one."""
NO_CAPACITY = (
    "There are no longer any instances available with the requested specifications. "
    "Please refresh and try again."
)
INVALID = "GRAPHQL_VALIDATION_FAILED"
STATUS: dict[State, str] = {
    State.BOOTING: "RUNNING",
    State.RUNNING: "RUNNING",
    State.GONE: "TERMINATED",
}
MakeScript = Callable[[str], str]


class RefusedError(Exception):
    """What GraphQL tells as an error, with HTTP status 200."""

    def __init__(self, message: str, code: str = "RUNPOD") -> None:
        super().__init__(message)
        self.code = code


class Legacy:
    """The account of a simulator, by GraphQL.

    Args:
        fleet: its machines.
        gpus: its catalogue, by the GPU's id.
        command_of: makes of a container's arguments what a machine runs.
    """

    def __init__(
        self, fleet: Fleet, gpus: dict[str, dict[str, Any]], command_of: MakeScript
    ) -> None:
        self._fleet = fleet
        self._gpus = gpus
        self._command_of = command_of
        self.takes_bids = True
        """Whether interruptible pods can still be rented."""
        self.balance_usd = 435.85
        self.refuses = ""
        """What the next creates are refused with."""

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request."""
        try:
            fields = parse(json.loads(await request.read())["query"])
            data = pick(self._root(fields), fields)
        except ValueError as error:
            return failed(str(error), "GRAPHQL_PARSE_FAILED")
        except RefusedError as error:
            return failed(str(error), error.code)
        return as_json({"data": data})

    def _root(self, fields: list[Field]) -> Mapping[str, Any]:
        root: dict[str, Any] = {
            "gpuTypes": self._types,
            "myself": {
                "id": "user",
                "clientBalance": self.balance_usd,
                "networkVolumes": [],
                "pods": self._pods,
            },
            "pod": self._one,
            "podFindAndDeployOnDemand": self._deploy,
            "podStop": self._stop,
            "podResume": self._resume,
            "podTerminate": self._terminate,
        }
        if self.takes_bids:
            root["podRentInterruptable"] = self._deploy
        for one in fields:
            if one.name not in root:
                raise RefusedError(f'Cannot query field "{one.name}".', INVALID)
        return root

    # Types ------------------------------------------------------------------------------------------

    def _types(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        wanted = given.get("input", {}).get("id")
        return [self._type(row) for row in self._gpus.values() if wanted in {None, row["id"]}]

    def _type(self, row: Mapping[str, Any]) -> dict[str, Any]:
        price, most = row["price"], row["maxCount"]

        def lowest(given: dict[str, Any]) -> dict[str, Any]:
            return self._lowest(row, given.get("input", {}))

        return {
            "id": row["id"],
            "displayName": row["name"],
            "manufacturer": row["manufacturer"],
            "memoryInGb": row["memory"],
            "maxGpuCount": max(most.values()),
            "secureCloud": row["secure"],
            "communityCloud": row["community"],
            "securePrice": price["secure"],
            "communityPrice": price["community"],
            "secureSpotPrice": price["secure"],
            "communitySpotPrice": price["community"],
            "lowestPrice": lowest,
        }

    def _lowest(self, row: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        cloud = "SECURE" if given.get("secureCloud", True) else "COMMUNITY"
        usd_h, stock = row["price"][cloud.lower()], row["stock"][cloud]
        if stock == "NONE" or given.get("gpuCount", 1) > row["maxCount"][cloud.lower()]:
            return {"minimumBidPrice": None, "uninterruptablePrice": None, "stockStatus": None}
        bid_usd_h = round(usd_h * BID_SHARE, 4)
        told = {"minimumBidPrice": bid_usd_h, "uninterruptablePrice": usd_h}
        return {**told, "stockStatus": stock.capitalize()}

    # Pods -------------------------------------------------------------------------------------------

    def _deploy(self, given: dict[str, Any]) -> dict[str, Any]:
        wanted: dict[str, Any] = given["input"]
        if self.refuses:
            raise RefusedError(self.refuses)
        row = self._gpus.get(wanted.get("gpuTypeId", ""))
        count = int(wanted.get("gpuCount", 1))
        bid_usd_h: float | None = wanted.get("bidPerGpu")
        cloud = "COMMUNITY" if wanted.get("cloudType") == "COMMUNITY" else "SECURE"
        if row is None or row["stock"][cloud] == "NONE" or count > row["maxCount"][cloud.lower()]:
            raise RefusedError(NO_CAPACITY)
        usd_h: float = row["price"][cloud.lower()]
        if bid_usd_h is not None and bid_usd_h < round(usd_h * BID_SHARE, 4):
            raise RefusedError(NO_CAPACITY)
        paid_usd_h = usd_h if bid_usd_h is None else bid_usd_h
        return self._pod(self._made(wanted, cloud, count, paid_usd_h)) or {}

    def _made(self, wanted: dict[str, Any], cloud: str, count: int, usd_h: float) -> Machine:
        pairs: list[dict[str, str]] = wanted.get("env") or []
        args, disk_gb = str(wanted.get("dockerArgs") or ""), int(wanted["containerDiskInGb"])
        body = {
            "name": wanted["name"],
            "image": wanted.get("imageName", ""),
            "args": args,
            "disk": disk_gb,
            "cloud": cloud,
            "gpu": {"id": wanted["gpuTypeId"], "count": count},
        }
        return self._fleet.make(
            str(wanted["name"]),
            usd_h * count + disk_gb * 0.10 / 730,
            spec={
                "body": body,
                "bid": wanted.get("bidPerGpu"),
                "count": count,
                "region": wanted.get("dataCenterId") or next(iter(DATA_CENTERS)),
            },
            env={one["key"]: one["value"] for one in pairs},
            script=self._command_of(args),
        )

    def _pods(self, given: dict[str, Any]) -> list[dict[str, Any]]:
        del given
        rows = [self._pod(machine) for machine in self._fleet.listed()]
        return [row for row in rows if row is not None]

    def _one(self, given: dict[str, Any]) -> dict[str, Any] | None:
        return self._pod(self._there(given))

    def _there(self, given: Mapping[str, Any]) -> Machine | None:
        return self._fleet.seen(given["input"]["podId"])

    def _stop(self, given: dict[str, Any]) -> dict[str, Any] | None:
        machine = self._known(given, "pod not found to stop")
        self._fleet.stop(machine.id)
        return self._pod(machine)

    def _resume(self, given: dict[str, Any]) -> dict[str, Any] | None:
        machine = self._known(given, "pod not found to resume")
        self._fleet.resurrect(machine.id)
        return self._pod(machine)

    def _terminate(self, given: dict[str, Any]) -> None:
        self._fleet.end(self._known(given, "pod not found to terminate").id)

    def _known(self, given: Mapping[str, Any], otherwise: str) -> Machine:
        machine = self._there(given)
        if machine is None or machine.state is State.GONE:
            raise RefusedError(otherwise)
        return machine

    def _pod(self, machine: Machine | None) -> dict[str, Any] | None:
        if machine is None or machine.state is State.GONE:
            return None
        body: Any = machine.spec.get("body") or {}
        runs = machine.state is State.RUNNING
        return {
            "id": machine.id,
            "name": machine.name,
            "imageName": body.get("image", ""),
            "dockerArgs": body.get("args", ""),
            "containerDiskInGb": body.get("disk", 20),
            "env": [f"{key}={value}" for key, value in machine.env.items()],
            "desiredStatus": STATUS.get(machine.state, "EXITED"),
            "costPerHr": machine.price_usd_h,
            "gpuCount": machine.spec.get("count", 1),
            "lastStatusChange": f"Rented by User: {machine.reason}",
            "machineId": f"m{machine.id}",
            "machine": {"podHostId": f"{machine.id}-64411eb2", "gpuDisplayName": "GPU"},
            "podType": "RESERVED" if machine.spec.get("bid") is None else "INTERRUPTABLE",
            "runtime": {"ports": []} if runs else None,
            "uptimeSeconds": 0,
        }


def failed(message: str, code: str) -> web.Response:
    """Give an error as GraphQL does: with HTTP status 200."""
    error = {"message": message, "extensions": {"code": code}}
    return as_json({"errors": [error], "data": None})
