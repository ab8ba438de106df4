"""Google's own client and its own key library understand our Compute Engine."""

from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.gcp import DRIVER
from vaultlayer_actors.drivers.gcp.account import assertion, read_account
from vaultlayer_actors.drivers.gcp.simulated_accounts import PROJECT
from vaultlayer_actors.drivers.gcp.simulator import GcpSimulator
from vaultlayer_actors.simulator.machine import State
from witnesses import witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio, pytest.mark.timeout(180)]

NAME = "vl-jabcdefgh2-a1"
NEED = Need(gpu="A100_40", gpu_count=1)
CASE = Case(kind=DRIVER, simulator=GcpSimulator, need=NEED, secrets={"service_account": "{key}"})

CONNECT = """
import json, sys
from google.api_core.client_options import ClientOptions
from google.cloud import compute_v1
from google.auth.transport.requests import Request
from google.oauth2 import credentials as tokens, service_account
url, key, project, name = sys.argv[1:5]
account = service_account.Credentials.from_service_account_info(
    json.loads(key), scopes=["https://www.googleapis.com/auth/compute"])
account.refresh(Request())
credentials = tokens.Credentials(account.token)
options = ClientOptions(api_endpoint=url)
instances = compute_v1.InstancesClient(credentials=credentials, client_options=options)
# `insert` itself would ask Google's real address how its operation goes on.
operations = compute_v1.ZoneOperationsClient(credentials=credentials, client_options=options)
zone = "us-central1-a"
def settle(operation):
    return operations.wait(project=project, zone=zone, operation=operation.name)
"""

LIFE = """
plan = compute_v1.Scheduling(
    provisioning_model="SPOT", instance_termination_action="DELETE", on_host_maintenance="TERMINATE")
disk = compute_v1.AttachedDisk(boot=True, auto_delete=True,
    initialize_params=compute_v1.AttachedDiskInitializeParams(
        source_image="projects/p/global/images/i", disk_size_gb=100))
instance = compute_v1.Instance(
    name=name, machine_type=f"zones/{zone}/machineTypes/a2-highgpu-1g", scheduling=plan,
    disks=[disk], labels={"vaultlayer": name})
made = settle(instances.insert_unary(project=project, zone=zone, instance_resource=instance))
seen = instances.get(project=project, zone=zone, instance=name)
listed = [one.name for one in instances.list(project=project, zone=zone)]
everywhere = [one.name for _, part in instances.aggregated_list(project=project)
    for one in part.instances]
settle(instances.delete_unary(project=project, zone=zone, instance=name))
try:
    instances.get(project=project, zone=zone, instance=name)
    after = "there"
except Exception as error:
    after = type(error).__name__
print(json.dumps([made.status.name, seen.status, seen.labels["vaultlayer"],
    seen.scheduling.provisioning_model, listed, everywhere, after]))
"""

SEEN = """
((where, one),) = [(where, one) for where, part in instances.aggregated_list(project=project)
    for one in part.instances]
print(json.dumps([one.name, where.removeprefix("zones/"), one.status, one.labels["vaultlayer"],
    one.machine_type.rpartition("/")[2]]))
"""

TYPES = """
client = compute_v1.MachineTypesClient(credentials=credentials, client_options=options)
found = [(where, one.name, one.guest_cpus, one.memory_mb, one.accelerators[0].guest_accelerator_count)
    for where, part in client.aggregated_list(compute_v1.AggregatedListMachineTypesRequest(
        project=project, filter='(name = "a2-highgpu-1g")'))
    for one in part.machine_types]
print(json.dumps(found))
"""

FULL = """
instance = compute_v1.Instance(name=name, machine_type=f"zones/{zone}/machineTypes/a2-highgpu-1g",
    scheduling=compute_v1.Scheduling(provisioning_model="STANDARD"),
    disks=[compute_v1.AttachedDisk(initialize_params=compute_v1.AttachedDiskInitializeParams(
        disk_size_gb=100))])
made = settle(instances.insert_unary(project=project, zone=zone, instance_resource=instance))
print(json.dumps([made.status.name, [one.code for one in made.error.errors]]))
"""

SIGNED = """
import json, sys
from google.auth import crypt, jwt
token, key = sys.argv[1:3]
signer = crypt.RSASigner.from_service_account_info(json.loads(key))
from cryptography.hazmat.primitives import serialization as s
public = s.load_pem_private_key(json.loads(key)["private_key"].encode(), None).public_key()
pem = public.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
claims = jwt.decode(token, certs={signer.key_id: crypt.RSAVerifier.from_string(pem)}, verify=False)
head, _, text, signature = jwt._unverified_decode(token)
print(json.dumps([head, claims, crypt.RSAVerifier.from_string(pem).verify(text, signature)]))
"""


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def client(rig: Rig, script: str, name: str = NAME) -> Any:
    return await witness_says(CONNECT + script, rig.sim.url, rig.sim.key, PROJECT, name)


async def test_a_machine_is_made_seen_listed_and_deleted(rig: Rig) -> None:
    assert await client(rig, LIFE) == ["DONE", "RUNNING", NAME, "SPOT", [NAME], [NAME], "NotFound"]
    assert [one.state for one in rig.sim.fleet.machines.values()] == [State.GONE]


async def test_the_client_sees_what_the_driver_made(rig: Rig) -> None:
    offers = (await rig.driver.offers(CASE.need)).offers
    offer = next(one for one in offers if one.offer_id.startswith("us-central1-a/"))
    made = await rig.driver.create(await rig.order(offer))
    name, zone, *seen = await client(rig, SEEN, made.name)
    assert f"{name}@{zone}" == made.instance
    assert seen == ["RUNNING", made.name, "a2-highgpu-1g"]


async def test_every_zone_with_a_machine_type_is_listed_over_its_pages(rig: Rig) -> None:
    found = await client(rig, TYPES)
    assert ["zones/us-central1-a", "a2-highgpu-1g", 12, 87040, 1] in found
    zones = {offer.detail.rpartition(" ")[2] for offer in (await rig.driver.offers(NEED)).offers}
    assert zones == {one[0].removeprefix("zones/") for one in found}


async def test_a_full_zone_is_told_by_the_operation(rig: Rig) -> None:
    rig.sim.faults.add("no_capacity", "create")
    assert await client(rig, FULL) == ["DONE", ["ZONE_RESOURCE_POOL_EXHAUSTED"]]
    assert rig.sim.fleet.machines == {}


async def test_our_signature_is_what_googles_own_library_expects(rig: Rig) -> None:
    account = read_account(rig.sim.key)
    token = assertion(account, 1_800_000_000.0)
    head, claims, is_good = await witness_says(SIGNED, token, rig.sim.key)
    assert is_good
    assert head == {"alg": "RS256", "typ": "JWT", "kid": account.private_key_id}
    assert (claims["iss"], claims["exp"] - claims["iat"]) == (account.client_email, 3600)
