"""What clouds of whole VMs share: no spot, no containers, the plan's own disk, a boot through cloud-init."""

from pathlib import Path

import msgspec
import pytest

from vaultlayer.driver import Need
from vaultlayer_actors.drivers.cloud.bootstrap import cloud_config
from vaultlayer_actors.drivers.cloud.naming import tagged
from vaultlayer_actors.drivers.conformance import Case
from vaultlayer_actors.drivers.conformance.case import rig_of
from vaultlayer_actors.drivers.digitalocean import DRIVER as DIGITALOCEAN
from vaultlayer_actors.drivers.digitalocean.simulator import DigitalOceanSimulator
from vaultlayer_actors.simulator.vm import script_in

CASES = [
    Case(kind=DIGITALOCEAN, simulator=DigitalOceanSimulator, need=Need(gpu="H100_80", gpu_count=1)),
]


@pytest.fixture(params=CASES, ids=lambda case: case.kind.manifest.name)
def case(request: pytest.FixtureRequest) -> Case:
    return request.param


async def refusal(case: Case, path: Path, need: Need, **options: object) -> str:
    async with rig_of(_with(case, options), path) as rig:
        found = await rig.driver.offers(need)
        assert not found.offers
        return found.refusal


def _with(case: Case, options: dict[str, object]) -> Case:
    fields = {name: getattr(case, name) for name in ("kind", "simulator", "need", "secrets")}
    return Case(**fields, options={**case.options, **options})


@pytest.mark.anyio
async def test_spot_only_is_refused_in_words(case: Case, tmp_path: Path) -> None:
    assert "spot" in await refusal(case, tmp_path, case.need, spot="only")


@pytest.mark.anyio
async def test_a_container_image_is_refused_in_words(case: Case, tmp_path: Path) -> None:
    need = msgspec.structs.replace(case.need, image="repo/img:tag")
    assert "repo/img:tag" in await refusal(case, tmp_path, need)


@pytest.mark.anyio
async def test_a_disk_that_no_plan_has_is_refused(case: Case, tmp_path: Path) -> None:
    need = msgspec.structs.replace(case.need, disk_b=10**15)
    assert await refusal(case, tmp_path, need)


@pytest.mark.anyio
async def test_regions_that_are_not_wanted_are_left_out(case: Case, tmp_path: Path) -> None:
    assert await refusal(case, tmp_path, case.need, regions=["the moon"])
    async with rig_of(_with(case, {}), tmp_path) as rig:
        region = (await rig.offer()).region
    async with rig_of(_with(case, {"regions": [region]}), tmp_path) as rig:
        assert {one.region for one in (await rig.driver.offers(case.need)).offers} == {region}


def test_only_what_cloud_init_would_run_is_run() -> None:
    assert script_in("#!/bin/sh\ntrue") == "#!/bin/sh\ntrue"
    assert script_in(cloud_config("#!/bin/sh\nfalse")) == "#!/bin/sh\nfalse"
    assert script_in("echo hello") == ""


def test_a_machine_is_ours_by_its_tag_and_its_name() -> None:
    assert tagged("vl-jabcdefgh2-a1", ["x", "vaultlayer"]) == "vl-jabcdefgh2-a1"
    assert tagged("vl-jabcdefgh2-a1", ["x"]) == ""
    assert tagged(None, None) == ""
