"""The user's own machines: real ssh to a real SSH server, real processes, real loss."""

import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec
import pytest

from clouds_end_to_end import bare_digest, cloud_home, until
from ssh_hosts import SSHD, OpenSshHost, SshHost, needs_ssh, ssh_hosts
from vaultlayer.driver import (
    BootPayload,
    Driver,
    DriverContext,
    Instance,
    Need,
    Order,
    TellsAccount,
)
from vaultlayer.errors import AuthError, CapacityError, DriverError
from vaultlayer_actors.drivers.ssh import DRIVER
from vaultlayer_actors.drivers.ssh.shell import Host, ask

pytestmark = [pytest.mark.integration, pytest.mark.anyio, needs_ssh, pytest.mark.timeout(240)]

NAME = "vl-jabcdefgh2-a1"
ONE = Need(gpu="RTX4090", gpu_count=1)
CLINGS = "setsid sleep 1000 & echo on $CUDA_VISIBLE_DEVICES; sleep 1000"
TRAIN = ("python", "train.py", "--steps", "60", "--save-steps", "5", "--step-delay", "0.3")


@pytest.fixture(scope="module", params=[SshHost, OpenSshHost], ids=["asyncssh", "openssh"])
def box(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Generator[SshHost]:
    if request.param is OpenSshHost and SSHD is None:
        pytest.skip("no sshd here: install openssh-server; asyncssh serves the same tests")
    with ssh_hosts(tmp_path_factory.mktemp("ssh"), "box1", kind=request.param) as hosts:
        yield hosts[0]


@pytest.fixture
def clean(box: SshHost) -> Generator[SshHost]:
    yield box
    while box.cut_power():
        pass
    subprocess.run(["rm", "-rf", str(box.home / ".vaultlayer")], check=True)


def host_of(box: SshHost, **fields: Any) -> Host:
    return Host(**box.table(gpu="RTX4090", gpu_count=2, **fields))


def driver_of(path: Path, *boxes: SshHost, **fields: Any) -> Driver:
    table = {"gpu": "RTX4090", "gpu_count": 2, **fields}
    hosts = [box.table(**table) for box in boxes]
    return DRIVER.build(DriverContext(options={"hosts": hosts}, secrets={}, state_path=path))


async def order_of(driver: Driver, name: str = NAME, need: Need = ONE) -> Order:
    found = await driver.offers(need)
    assert found.offers, found.refusal
    boot = BootPayload(
        job=name[3:13],
        attempt=int(name.rpartition("a")[2]),
        incarnation="k2m4p6r8",
        provider="ssh",
        bus_urls=["tls://127.0.0.1:9"],
        enrol_jwt="e",
        enrol_seed="S",
        work_path="~/.vaultlayer/workspace/j",
        version="0.1.0",
    )
    return Order(name=name, offer=found.offers[0], boot=boot)


async def states(driver: Driver) -> dict[str, str]:
    return {one.name: one.state for one in await driver.list()}


async def test_an_instance_runs_detached_and_ends_with_all_that_it_has_started(
    clean: SshHost,
) -> None:
    host = host_of(clean)
    (started,) = await ask(host, "start", NAME, "1", "2", "1", script=CLINGS)
    assert (started.state, started.units) == ("running", frozenset({0}))
    (listed,) = await ask(host, "list")
    assert listed == started
    (stopped,) = await ask(host, "stop", NAME)
    assert stopped.state == "gone"
    assert clean.cut_power() == []
    # The script held a credential.
    assert not (clean.home / ".vaultlayer/hosts" / NAME / "boot.sh").exists()


async def test_a_name_is_started_once_whoever_asks_and_never_again(clean: SshHost) -> None:
    host = host_of(clean)

    async def start() -> None:
        (found,) = await ask(host, "start", NAME, "1", "2", "1", script="echo x >>ran; sleep 1000")
        assert found.units == frozenset({0})

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(start)
    await ask(host, "stop", NAME)
    (again,) = await ask(host, "start", NAME, "1", "2", "1", script="echo x >>ran")
    assert again.state == "gone"
    assert (clean.home / "ran").read_text() == "x\n"


async def test_a_start_that_comes_after_its_stop_starts_nothing(clean: SshHost) -> None:
    host = host_of(clean)
    await ask(host, "stop", NAME)
    (late,) = await ask(host, "start", NAME, "1", "2", "1", script="sleep 1000")
    assert (late.state, late.detail) == ("gone", "ended by us")


@pytest.mark.parametrize("name", ["", ".", "hosts", "vl-", "vl-/..", "../vl-a"])
async def test_nothing_but_an_instance_of_ours_is_ever_removed(clean: SshHost, name: str) -> None:
    host = host_of(clean)
    (clean.home / ".vaultlayer/hosts").mkdir(parents=True)
    for call in ("stop", "start"):
        with pytest.raises(DriverError, match="exit 64"):
            await ask(host, call, name, "1", "2", "1")
    assert (clean.home / ".vaultlayer/hosts").exists()


async def test_jobs_share_a_host_by_gpu_until_it_is_full(clean: SshHost) -> None:
    host = host_of(clean)
    for number, units in ((1, {0}), (2, {1})):
        (found,) = await ask(
            host, "start", f"vl-jabcdefgh2-a{number}", "1", "2", "1", script=CLINGS
        )
        assert found.units == units
    with pytest.raises(CapacityError, match="no room"):
        await ask(host, "start", "vl-jabcdefgh2-a3", "1", "2", "1", script=CLINGS)
    console = clean.home / ".vaultlayer/hosts/vl-jabcdefgh2-a2/console.log"
    await anyio.to_thread.run_sync(lambda: until(lambda: console.read_text() == "on 1\n"))
    await ask(host, "stop", "vl-jabcdefgh2-a1")
    (found,) = await ask(host, "start", "vl-jabcdefgh2-a4", "1", "2", "1", script=CLINGS)
    assert found.units == {0}


async def test_what_ends_by_itself_or_is_killed_is_gone(clean: SshHost) -> None:
    host = host_of(clean)
    await ask(host, "start", NAME, "1", "2", "1", script="exit 7")
    await ask(host, "start", "vl-jabcdefgh2-a2", "1", "2", "1", script="sleep 1000")

    def ended() -> bool:
        return (clean.home / ".vaultlayer/hosts" / NAME / "ended").exists()

    await anyio.to_thread.run_sync(lambda: until(ended))
    clean.cut_power()
    found = {one.name: (one.state, one.detail) for one in await ask(host, "list")}
    assert found == {
        NAME: ("gone", "ended with 7"),
        "vl-jabcdefgh2-a2": ("gone", "its processes are gone"),
    }


async def test_a_driver_makes_finds_and_ends_what_another_process_made(
    clean: SshHost, tmp_path: Path
) -> None:
    driver, other = driver_of(tmp_path / "one", clean), driver_of(tmp_path / "two", clean)
    order = await order_of(driver)
    made = await driver.create(order)
    assert made.instance == f"{NAME}@box1"
    assert (await other.create(order)).instance == made.instance
    assert await states(other) == {NAME: "running"}
    two = await driver.offers(Need(gpu="RTX4090", gpu_count=2))
    assert "it has none now" in two.refusal
    await other.terminate(made.instance)
    assert (await driver.get(made.instance)).state == "gone"
    assert (await driver.get(f"vl-jabcdefgh2-a9@{clean.name}")).state == "gone"


async def test_a_host_that_cannot_be_reached_is_unknown_and_never_gone(tmp_path: Path) -> None:
    with ssh_hosts(tmp_path / "hosts", "box1") as (box,):
        driver = driver_of(tmp_path / "state", box)
        await driver.create(await order_of(driver))
        other = msgspec.structs.replace(await order_of(driver), name="vl-jabcdefgh2-a2")
        box.silence()
        # Nobody was there to start anything: that is no riddle.
        with pytest.raises(CapacityError, match="cannot be reached"):
            await driver.create(other)
        # Whoever begins anew while the host is silent knows of it all the same.
        for one in (driver, driver_of(tmp_path / "state", box)):
            assert await states(one) == {NAME: "unknown"}
            assert (await one.get(f"{NAME}@box1")).state == "unknown"
            with pytest.raises(DriverError, match="cannot be reached") as caught:
                await one.terminate(f"{NAME}@box1")
            assert caught.value.retryable
            assert (
                "cannot be reached" in (await one.offers(Need(gpu="RTX4090", gpu_count=2))).refusal
            )
        box.speak()
        assert await states(driver) == {NAME: "running"}
        await driver.terminate(f"{NAME}@box1")
        assert await states(driver) == {NAME: "gone"}


async def test_what_stood_on_a_host_that_left_the_table_is_unknown(
    clean: SshHost, tmp_path: Path
) -> None:
    driver = driver_of(tmp_path, clean)
    made = await driver.create(await order_of(driver))
    other = DRIVER.build(
        DriverContext(options={"hosts": [{"address": "box9"}]}, secrets={}, state_path=tmp_path)
    )
    seen: Instance = await other.get(made.instance)
    assert (seen.state, seen.detail) == ("unknown", "its host is no longer in [providers.ssh]")
    with pytest.raises(DriverError, match="cannot be ended"):
        await other.terminate(made.instance)
    await driver.terminate(made.instance)


async def test_host_keys_are_checked_and_the_way_to_accept_them_is_told(
    clean: SshHost, tmp_path: Path
) -> None:
    host = host_of(clean)
    clean.known_hosts.write_text("")
    with pytest.raises(AuthError, match=r"host key of .* is not known") as caught:
        await ask(host, "list")
    assert f"ssh -p {clean.port}" in (caught.value.mend or "")
    assert "is not known" in (await driver_of(tmp_path, clean).offers(ONE)).refusal
    driver = driver_of(tmp_path, clean)
    assert isinstance(driver, TellsAccount)
    with pytest.raises(AuthError, match="is not known"):
        await driver.account()
    clean.change_key()
    with pytest.raises(AuthError):
        await ask(host, "list")
    clean.accept()
    assert (await driver.account()).can_create
    assert await ask(host, "list") == []


async def test_a_key_that_the_host_does_not_know_is_told(clean: SshHost, tmp_path: Path) -> None:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / "other")], check=True
    )
    table: dict[str, Any] = {**clean.table(), "key_file": str(tmp_path / "other")}
    with pytest.raises(AuthError, match="does not let us in") as caught:
        await ask(Host(**table), "list")
    assert "ssh-copy-id" in (caught.value.mend or "")


async def test_a_host_without_gpus_takes_one_job_and_no_image(
    clean: SshHost, tmp_path: Path
) -> None:
    driver = driver_of(tmp_path, clean, gpu="", gpu_count=0, price_usd_h=0.25)
    order = await order_of(driver, need=Need())
    assert (order.offer.gpu, order.offer.gpu_count, order.offer.price_usd_h) == ("", 0, 0.25)
    await driver.create(order)
    assert not (await driver.offers(Need())).offers
    assert "no images" in (await driver.offers(Need(image="repo/img"))).refusal
    await driver.terminate(f"{NAME}@box1")
    assert (await driver.offers(Need())).offers


def test_a_job_goes_on_at_another_host_after_its_own_lost_power(tmp_path: Path) -> None:
    gpu = {"gpu": "RTX4090", "gpu_count": 1}
    card = "NVIDIA GeForce RTX 4090:24564:1"
    with (
        ssh_hosts(tmp_path / "hosts", "box1", "box2", gpu=card) as boxes,
        cloud_home(tmp_path, "ssh", hosts=[box.table(**gpu) for box in boxes]) as home,
    ):
        job = home.submit("RTX4090", *TRAIN)
        until(lambda: any(e["type"] == "checkpoint_committed" for e in home.events(job)))
        first = next(box for box in boxes if (box.home / f".vaultlayer/hosts/vl-{job}-a1").exists())
        assert first.cut_power()
        state = home.finish(job)
        assert (state["outcome"], state["exit_code"]) == ("succeeded", 0), home.logs(job)
        assert home.digest(job) == bare_digest(tmp_path / "bare", *TRAIN[2:6])
        takeovers = [e for e in home.events(job) if e["type"] == "takeover"]
        assert [bool(e.get("resume_from")) for e in takeovers] == [False, True]
