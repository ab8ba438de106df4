"""boto3 on our simulated EC2, and our driver on moto's: each sees what the other made."""

import socket
import subprocess
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from vaultlayer.driver import Driver, DriverContext, Need
from vaultlayer.errors import DriverError
from vaultlayer_actors.drivers.aws import DRIVER
from vaultlayer_actors.drivers.aws.simulator import KEY_ID, AwsSimulator
from vaultlayer_actors.drivers.aws.stock import AMI
from vaultlayer_actors.drivers.cloud.clock import SteadyClock
from vaultlayer_actors.drivers.conformance import Case, Rig
from vaultlayer_actors.drivers.conformance.case import rig_of
from witnesses import interpreter, witness_says

pytestmark = [pytest.mark.witness, pytest.mark.anyio]

NEED = Need(gpu="A10G", gpu_count=1)
CASE = Case(
    kind=DRIVER,
    simulator=AwsSimulator,
    need=NEED,
    secrets={"access_key_id": KEY_ID, "secret_access_key": "{key}"},
)
CLIENT = """
import json, sys
import boto3
from botocore.config import Config
from botocore.exceptions import ClientError
ec2 = boto3.client(
    "ec2", endpoint_url=sys.argv[1], region_name=sys.argv[4], aws_access_key_id=sys.argv[2],
    aws_secret_access_key=sys.argv[3], config=Config(retries={"total_max_attempts": 1}),
)
def refused(call, **request):
    try:
        call(**request)
    except ClientError as error:
        return [error.response["Error"]["Code"], error.response["ResponseMetadata"]["HTTPStatusCode"]]
def instances(**request):
    pages = ec2.get_paginator("describe_instances").paginate(**request)
    return [one for page in pages for some in page["Reservations"] for one in some["Instances"]]
"""
MOTO = "from moto.server import main; main(['-H', '127.0.0.1', '-p', '{port}'])"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncGenerator[Rig]:
    async with rig_of(CASE, tmp_path) as made:
        yield made


async def boto3_says(rig: Rig, *lines: str, key: str = "", region: str = "us-east-1") -> Any:
    """Run lines of boto3 that leave their answer in `out`."""
    program = "\n".join([CLIENT, *lines, "print(json.dumps(out, default=str))"])
    return await witness_says(program, rig.sim.url, KEY_ID, key or rig.sim.key, region)


async def test_boto3_sees_what_the_driver_made_and_ends_it(rig: Rig) -> None:
    offer = await rig.offer()
    order = await rig.order(offer)
    made = await rig.driver.create(order)
    (seen,) = await boto3_says(rig, "out = instances()", region=offer.region)
    tags = {tag["Key"]: tag["Value"] for tag in seen["Tags"]}
    assert (seen["InstanceId"], seen["State"]["Name"]) == (made.instance, "running")
    assert (seen["ClientToken"], seen["InstanceLifecycle"]) == (order.name, "spot")
    assert tags == {"vaultlayer": order.name, "Name": order.name}
    end = f"out = ec2.terminate_instances(InstanceIds=['{made.instance}'])['TerminatingInstances']"
    for before in ("running", "terminated"):
        (change,) = await boto3_says(rig, end, region=offer.region)
        assert change["PreviousState"]["Name"] == before
    ended = await rig.driver.get(made.instance)
    assert (ended.state, ended.detail) == ("gone", "Client.UserInitiatedShutdown")


async def test_the_driver_sees_what_boto3_made_by_token(rig: Rig) -> None:
    program = f"""
tags = [{{"Key": "vaultlayer", "Value": "vl-jabcdefgh2-a7"}}]
run = dict(
    ImageId="{AMI}", InstanceType="g5.xlarge", MinCount=1, MaxCount=1, ClientToken="tok-1",
    UserData="#!/bin/sh", Placement={{"AvailabilityZone": "us-east-1b"}},
    TagSpecifications=[{{"ResourceType": "instance", "Tags": tags}}],
)
dry = refused(ec2.run_instances, **run, DryRun=True)
ids = [ec2.run_instances(**run)["Instances"][0]["InstanceId"] for _ in range(2)]
other = refused(ec2.run_instances, **{{**run, "InstanceType": "g6.xlarge"}})
elsewhere = {{**run, "Placement": {{"AvailabilityZone": "us-east-1a"}}}}
second = ec2.run_instances(**elsewhere)["Instances"][0]["InstanceId"]
out = [dry, ids, other, second]
"""
    dry, ids, other, second = await boto3_says(rig, program)
    assert dry == ["DryRunOperation", 412]
    assert ids[0] == ids[1] != second
    assert other == ["IdempotentParameterMismatch", 400]
    listed = {one.instance: one.name for one in await rig.driver.list()}
    assert listed == dict.fromkeys([ids[0], second], "vl-jabcdefgh2-a7")


async def test_prices_types_and_zones_are_the_same_to_both(rig: Rig) -> None:
    out = await boto3_says(
        rig,
        "pages = ec2.get_paginator('describe_instance_types').paginate("
        "Filters=[{'Name': 'instance-type', 'Values': ['g5.*']}])",
        "types = [one for page in pages for one in page['InstanceTypes']]",
        "prices = ec2.describe_spot_price_history(InstanceTypes=['g5.xlarge'],"
        " ProductDescriptions=['Linux/UNIX'])['SpotPriceHistory']",
        "out = [types, prices]",
    )
    kinds = {one["InstanceType"]: one["GpuInfo"]["Gpus"][0] for one in out[0]}
    assert kinds["g5.xlarge"] == {
        "Name": "A10G",
        "Manufacturer": "NVIDIA",
        "Count": 1,
        "LogicalGpuCount": 1,
        "GpuPartitionSize": 1.0,
        "MemoryInfo": {"SizeInMiB": 22888},
    }
    told = {one["AvailabilityZone"]: float(one["SpotPrice"]) for one in out[1]}
    offers = (await rig.driver.offers(NEED)).offers
    ours = {
        one.offer_id.partition(":")[0]: one.parts.machine_usd_h - 0.005
        for one in offers
        if one.spot and one.region == "us-east-1" and one.parts
    }
    assert ours == pytest.approx(told)


async def test_pages_refusals_and_wrong_keys_are_as_boto3_expects_them(rig: Rig) -> None:
    made = await rig.made()
    region = (await rig.offer()).region
    spec = dict(rig.sim.fleet.machines[made.instance].spec)
    for number in range(20):
        rig.sim.fleet.make(f"vl-jabcdefgh2-a{100 + number}", 0.1, spec=dict(spec))
    out = await boto3_says(
        rig,
        "names = [one['InstanceId'] for one in instances(PaginationConfig={'PageSize': 6})]",
        "missing = refused(ec2.describe_instances, InstanceIds=['i-00000000000000bad'])",
        "bad = refused(ec2.terminate_instances, InstanceIds=['nonsense'])",
        "out = [names, missing, bad]",
        region=region,
    )
    assert len(set(out[0])) == 21
    assert out[1:] == [["InvalidInstanceID.NotFound", 400], ["InvalidInstanceID.Malformed", 400]]
    denied = await boto3_says(rig, "out = refused(ec2.describe_instances)", key="wrong")
    assert denied == ["AuthFailure", 401]
    rig.sim.faults.add("no_capacity", "create")
    rig.sim.faults.add("429", "list")
    out = await boto3_says(
        rig,
        "slow = refused(ec2.describe_instances)",
        f"out = [slow, refused(ec2.run_instances, ImageId='{AMI}', InstanceType='g5.xlarge',"
        " MinCount=1, MaxCount=1)]",
    )
    assert out == [["RequestLimitExceeded", 503], ["InsufficientInstanceCapacity", 500]]


@pytest.fixture
async def moto(tmp_path: Path) -> AsyncGenerator[Driver]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [interpreter(), "-c", MOTO.format(port=port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    options = {
        "endpoint": f"http://127.0.0.1:{port}",
        "regions": ["us-east-1"],
        # One of the few images that moto comes with.
        "image": "amzn2-ami-hvm-*",
    }
    secrets = {"access_key_id": "AKIAMOTO", "secret_access_key": "moto"}
    driver = DRIVER.build(
        DriverContext(options=options, secrets=secrets, state_path=tmp_path, clock=SteadyClock())
    )
    try:
        with anyio.fail_after(60):
            while await is_deaf(driver):
                await anyio.sleep(0.2)
        yield driver
    finally:
        await driver.close()
        server.terminate()
        server.wait()


async def is_deaf(driver: Driver) -> bool:
    try:
        return bool(await driver.list())
    except DriverError:
        return True


async def test_the_driver_lives_with_moto(moto: Driver, rig: Rig) -> None:
    offers = (await moto.offers(NEED)).offers
    assert offers
    assert all(one.gpu == "A10G" and one.region == "us-east-1" for one in offers)
    spot = next(one for one in offers if one.spot)
    order = await rig.order(spot)
    made = await moto.create(order)
    again = await moto.get(made.instance)
    assert (again.state, again.name) == ("running", order.name)
    assert [one.name for one in await moto.list()] == [order.name]
    demand = msgspec.structs.replace(spot, offer_id=spot.offer_id.replace(":spot", ":demand"))
    other = await moto.create(await rig.order(demand))
    assert len(await moto.list()) == 2
    for instance in (made.instance, other.instance, made.instance):
        await moto.terminate(instance)
        assert (await moto.get(instance)).state == "gone"
    assert (await moto.get("i-00000000000000bad")).state == "gone"
    await moto.terminate("i-00000000000000bad")
