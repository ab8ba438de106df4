"""What simulators and drivers of RunPod and Lambda say, held against the vendors' own OpenAPI documents.

The documents are the vendors' and no part of this project. `VAULTLAYER_TEST_OPENAPI_RUNPOD` names a file with
that of REST v2 (`api-reference-v2/openapi.json` of the vendor's documentation),
`VAULTLAYER_TEST_OPENAPI_LAMBDA` one with that of the Cloud API. Without a file its tests are skipped.
"""

import json
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from vaultlayer.driver import Need
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.lambda_cloud import DRIVER as LAMBDA
from vaultlayer_actors.drivers.lambda_cloud.simulator import LambdaSimulator
from vaultlayer_actors.drivers.runpod import DRIVER as RUNPOD
from vaultlayer_actors.drivers.runpod.market import violations
from vaultlayer_actors.drivers.runpod.simulator import RunpodSimulator
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio, pytest.mark.timeout(180)]

CHECK = """
import json, sys
from jsonschema import Draft202012Validator
document = json.load(open(sys.argv[1]))
def schema_of(where):
    if where.startswith("#"):
        return {"$ref": where}
    path, method, status = where.split()
    found = document["paths"][path][method]
    found = found["requestBody"] if status == "request" else found["responses"][status]
    (content,) = found["content"].values()
    return content["schema"]
said = []
for where, value in json.load(open(sys.argv[2])):
    schema = {**schema_of(where), "components": document["components"]}
    errors = Draft202012Validator(schema).iter_errors(value)
    said.append([f"{where} {error.json_path}: {error.message[:200]}" for error in errors])
print(json.dumps(said))
"""
SCHEMAS = "#/components/schemas/"
RUNPOD_CASE = Case(kind=RUNPOD, simulator=RunpodSimulator, need=Need(gpu="RTX4090", gpu_count=1))
LAMBDA_CASE = Case(kind=LAMBDA, simulator=LambdaSimulator, need=Need(gpu="A10", gpu_count=1))


def document(name: str) -> str:
    variable = f"VAULTLAYER_TEST_OPENAPI_{name}"
    found = os.environ.get(variable, "")
    if not found:
        pytest.skip(f"{variable} names no file")
    return found


async def errors_of(document: str, samples: list[tuple[str, Any]], path: Path) -> list[list[str]]:
    """Give what is wrong with each sample (where its schema stands, value)."""
    (path / "samples.json").write_text(json.dumps(samples))
    return await witness_says(CHECK, document, str(path / "samples.json"))


@asynccontextmanager
async def talk(rig: Rig) -> AsyncGenerator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {rig.sim.key}"}
    async with httpx.AsyncClient(base_url=rig.sim.url, headers=headers) as client:
        yield client


def last_body(rig: Rig, call: str) -> Any:
    return json.loads(next(one.body for one in reversed(rig.sim.requests) if one.call == call))


async def test_runpods_contract_allows_what_both_sides_say(tmp_path: Path) -> None:
    openapi = document("RUNPOD")
    async with rig_of(RUNPOD_CASE, tmp_path) as rig, talk(rig) as client:
        samples: list[tuple[str, Any]] = []

        async def see(schema: str, path: str, status: int = 200) -> None:
            answer = await client.get(path)
            assert answer.status_code == status
            samples.append((SCHEMAS + schema, answer.json()))

        rig.sim.fleet.knobs.boot_s = 10.0
        made = await rig.made()
        samples.append((f"{SCHEMAS}CreatePodRequest", last_body(rig, "create")))
        catalog = "/v2/catalog/gpus"
        await see("ListGpuTypesResponse", f"{catalog}?include=AVAILABILITY&product=POD")
        await see("ListGpuTypesResponse", catalog)
        await see("ErrorResponse", f"{catalog}?include=AVAILABILITY", 400)
        await see("Pod", f"/v2/pods/{made.instance}")
        rig.clock.advance(11.0)
        await see("Pod", f"/v2/pods/{made.instance}")
        await see("ListPodsResponse", "/v2/pods")
        rig.sim.interrupt(made.instance)
        await see("Pod", f"/v2/pods/{made.instance}")
        await rig.driver.terminate(made.instance)
        await see("ErrorResponse", f"/v2/pods/{made.instance}", 404)
        for kind, status in (("no_capacity", 400), ("balance", 402), ("429", 429), ("500", 500)):
            rig.sim.faults.add(kind, "list")
            await see("ErrorResponse", "/v2/pods", status)
        assert await errors_of(openapi, samples, tmp_path) == [[] for _ in samples]


async def test_runpods_simulator_refuses_what_the_contract_refuses(tmp_path: Path) -> None:
    changes: list[dict[str, Any]] = [
        *({}, {"bogus": 1}, {"name": ""}, {"disk": 0}, {"disk": "9"}, {"disk": True}),
        *({"env": {"a": 1}}, {"cloud": "MOON"}, {"args": ["a"]}, {"ports": [1]}),
        *({"gpu": {"count": 1}}, {"gpu": {"id": "x", "bid": 1}}, {"gpu": {"id": "x", "count": 0}}),
        *({"gpu": {"id": "x", "minCudaVersion": "12"}}, {"dataCenterIds": [1]}, {"registry": None}),
        {"mounts": {"persistent": {"size": 5, "path": "/w"}}},
    ]
    base = {"name": "n", "image": "i", "gpu": {"id": "x"}}
    bodies = [{**base, **change} for change in changes]
    samples = [(f"{SCHEMAS}CreatePodRequest", body) for body in bodies]
    theirs = await errors_of(document("RUNPOD"), samples, tmp_path)
    assert [bool(violations(body)) for body in bodies] == [bool(found) for found in theirs]


async def test_lambdas_contract_allows_what_both_sides_say(tmp_path: Path) -> None:
    openapi = document("LAMBDA")
    async with rig_of(LAMBDA_CASE, tmp_path) as rig, talk(rig) as client:
        assert isinstance(rig.sim, LambdaSimulator)
        samples: list[tuple[str, Any]] = []
        rig.sim.limits_s = {}
        rig.sim.fleet.knobs.boot_s = 10.0
        made = await rig.made()
        launch = "/api/v1/instance-operations/launch"
        end = "/api/v1/instance-operations/terminate"
        body = last_body(rig, "create")
        samples.append((f"{launch} post request", body))

        async def see(method: str, path: str, schema: str = "", **request: Any) -> None:
            answer = await client.request(method, path, **request)
            where = f"{schema or path} {method.lower()} {answer.status_code}"
            samples.append((where, answer.json()))

        one, of_one = f"/api/v1/instances/{made.instance}", "/api/v1/instances/{id}"
        for name in ("instance-types", "ssh-keys", "images", "regions", "instances"):
            await see("GET", f"/api/v1/{name}")
        await see("GET", one, of_one)
        rig.clock.advance(11.0)
        await see("GET", one, of_one)
        await see("GET", "/api/v1/instances/none", of_one)
        await see("POST", launch, json=body)
        await see("POST", launch, json={**body, "ssh_key_names": []})
        await see("POST", launch, json={**body, "ssh_key_names": ["none"]})
        for kind in ("no_capacity", "balance", "auth"):
            rig.sim.faults.add(kind, "create")
            await see("POST", launch, json=body)
        await see("POST", end, json={"instance_ids": [made.instance]})
        await see("POST", end, json={"instance_ids": ["none"]})
        assert await errors_of(openapi, samples, tmp_path) == [[] for _ in samples]
        with pytest.raises(DriverError):
            rig.sim.faults.add("no_capacity", "create")
            await rig.made()
