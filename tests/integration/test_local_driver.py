"""The local driver with real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest

import standin
from standin import (
    JOB,
    WILD,
    WILD_KINDS,
    Make,
    drivers_below,
    first_of,
    living,
    order_of,
    until,
    wild_pids,
)
from vaultlayer.errors import CapacityError, DrillError, DriverError
from vaultlayer.ids import JobId
from vaultlayer_actors.drivers.local.driver import INIT
from vaultlayer_actors.drivers.local.instances import Instances
from vaultlayer_actors.drivers.local.processes import (
    MARK,
    Identity,
    belonging,
    is_alive,
    kill_all,
    look_at,
    send,
)

pytestmark = [pytest.mark.integration, pytest.mark.anyio]
NAME = f"vl-{JOB}-a1"


@pytest.fixture
async def make(tmp_path: Path) -> AsyncGenerator[Make]:
    async with drivers_below(tmp_path) as made:
        yield made


def state_of(tmp_path: Path, name: str = NAME) -> Path:
    return tmp_path / "local" / "instances" / name / "state"


async def test_an_instance_is_listed_from_create_to_terminate(make: Make, tmp_path: Path) -> None:
    driver = make()
    made = await driver.create(order_of())
    assert (made.name, made.state) == (NAME, "running")
    assert [one.name for one in await driver.list()] == [NAME]
    await driver.terminate(made.instance)
    assert await driver.list() == []
    assert (await driver.get(made.instance)).state == "gone"
    assert list((tmp_path / "local" / "instances").iterdir()) == []


async def test_the_boot_file_is_the_owners_alone_and_names_the_paths(
    make: Make, tmp_path: Path
) -> None:
    driver = make()
    await driver.create(order_of())
    file = tmp_path / "local" / "instances" / NAME / "boot.json"
    assert file.stat().st_mode & 0o777 == 0o600
    boot = standin.read_json(file)
    assert boot["work_path"] == str(tmp_path / "local" / "work" / JOB)
    assert boot["state_path"] == str(state_of(tmp_path))
    assert boot["local"] is True
    assert driver.manifest.work_root == str(tmp_path / "local" / "work")


async def test_terminate_ends_what_ignores_signals_and_hides(make: Make, tmp_path: Path) -> None:
    driver = make(WILD)
    made = await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    assert living(pids) == WILD_KINDS
    await driver.terminate(made.instance)
    assert living(pids) == set()
    assert (await driver.get(made.instance)).state == "gone"


async def test_a_frozen_instance_is_ended_just_the_same(make: Make, tmp_path: Path) -> None:
    driver = make(WILD)
    made = await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    told = await driver.drill(made.instance, "freeze", 0.0)
    assert "6 processes" in told
    stat = Path(f"/proc/{pids['grandchild'].pid}/stat").read_text()
    assert stat.rpartition(")")[2].split()[0] == "T"
    assert [one.state for one in await driver.list()] == ["running"]
    await driver.terminate(made.instance)
    assert living(pids) == set()


async def test_the_agent_dies_with_its_first_process_without_any_driver(
    make: Make, tmp_path: Path
) -> None:
    driver = make(WILD)
    await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    send(first_of(tmp_path, NAME), signal.SIGKILL)
    try:
        await until(lambda: "agent" not in living(pids))
    finally:
        send(pids["bare"], signal.SIGKILL)


async def test_a_look_at_an_instance_without_its_first_process_ends_the_rest(
    make: Make, tmp_path: Path
) -> None:
    driver = make(WILD)
    await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    first = first_of(tmp_path, NAME)
    send(first, signal.SIGKILL)
    await until(lambda: not is_alive(first))
    assert await driver.list() == []
    marked = WILD_KINDS - {"bare"}
    assert living(pids) & marked == set()
    # A process without a mark whose ancestors are all dead belongs to nobody; the test ends it itself.
    send(pids["bare"], signal.SIGKILL)


async def test_when_the_agent_ends_nothing_of_the_script_is_left(
    make: Make, tmp_path: Path
) -> None:
    driver = make(WILD)
    made = await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    first = first_of(tmp_path, NAME)
    send(pids["agent"], signal.SIGKILL)
    await until(lambda: not is_alive(first))
    assert living(pids) == set()
    gone = await driver.get(made.instance)
    assert (gone.state, gone.detail) == ("gone", "the agent was killed by signal 9")


async def test_the_agents_exit_status_is_told(make: Make) -> None:
    driver = make("raise SystemExit(3)")
    made = await driver.create(order_of())
    with anyio.fail_after(10):
        while (gone := await driver.get(made.instance)).state != "gone":
            await anyio.sleep(0.01)
    assert gone.detail == "the agent exited with status 3"


async def test_a_second_create_finds_the_first(make: Make, tmp_path: Path) -> None:
    driver = make()
    await driver.create(order_of())
    first = first_of(tmp_path, NAME)
    again = await driver.create(order_of())
    assert again.instance == NAME
    assert first_of(tmp_path, NAME) == first
    assert len(belonging(NAME, first)) == 2


async def test_a_create_after_the_end_does_not_start_the_attempt_twice(make: Make) -> None:
    driver = make()
    made = await driver.create(order_of())
    await driver.terminate(made.instance)
    assert (await driver.create(order_of())).state == "gone"
    assert await driver.list() == []


async def test_creates_of_one_name_at_once_make_one_instance(make: Make, tmp_path: Path) -> None:
    drivers = [make() for _ in range(4)]
    async with anyio.create_task_group() as group:
        for driver in drivers:
            group.start_soon(driver.create, order_of())
    assert len(belonging(NAME, first_of(tmp_path, NAME))) == 2


async def test_a_driver_started_anew_finds_the_same_instances(make: Make, tmp_path: Path) -> None:
    driver = make()
    await driver.create(order_of())
    code = (
        "import sys, anyio, standin, pathlib\n"
        "driver = standin.local_driver(pathlib.Path(sys.argv[1]))\n"
        "print([one.name for one in anyio.run(driver.list)])\n"
    )
    root = Path(__file__).parent.parent
    asked = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": f"{root}:{root.parent / 'actors'}", "PATH": os.environ["PATH"]},
    )
    assert asked.stdout.strip() == f"['{NAME}']"


async def test_an_instance_outlives_the_process_that_made_it(make: Make, tmp_path: Path) -> None:
    code = (
        "import os, sys, anyio, standin, pathlib\n"
        "driver = standin.local_driver(pathlib.Path(sys.argv[1]))\n"
        "anyio.run(driver.create, standin.order_of())\n"
        "os.kill(os.getpid(), 9)\n"
    )
    root = Path(__file__).parent.parent
    subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        check=False,
        start_new_session=True,
        env={"PYTHONPATH": f"{root}:{root.parent / 'actors'}", "PATH": os.environ["PATH"]},
    )
    driver = make()
    assert [(one.name, one.state) for one in await driver.list()] == [(NAME, "running")]


async def test_what_a_maker_that_died_has_left_is_cleared_away(make: Make, tmp_path: Path) -> None:
    driver = make()
    made = await driver.create(order_of())
    first = first_of(tmp_path, NAME)
    # As if the maker had died before the first process could record itself.
    (tmp_path / "local" / "instances" / NAME / "instance.json").unlink()
    with Instances(tmp_path / "local").creating():
        assert [one.state for one in await driver.list()] == ["booting"]
    assert await driver.list() == []
    assert not is_alive(first)
    made = await driver.create(order_of())
    assert made.state == "running"


async def test_a_process_with_the_id_but_another_start_is_a_stranger() -> None:
    stranger = subprocess.Popen([sys.executable, "-I", "-S", "-c", standin.QUIET])
    try:
        seen = look_at(stranger.pid)
        assert seen is not None
        ticks, _, boot = seen.identity.start.partition("@")
        earlier = Identity(stranger.pid, f"{int(ticks) - 1}@{boot}")
        before_reboot = Identity(stranger.pid, f"{ticks}@00000000-0000-0000-0000-000000000000")
        assert is_alive(seen.identity)
        for other in (earlier, before_reboot):
            assert not is_alive(other)
            assert not send(other, signal.SIGKILL)
            assert kill_all("vl-jaaaaaaaaa-a1", other, deadline_s=1.0) == []
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_a_mark_is_matched_as_a_whole() -> None:
    code = [sys.executable, "-I", "-S", "-c", standin.QUIET]
    eleventh = subprocess.Popen(code, env={MARK: "vl-jaaaaaaaaa-a11"})
    try:
        assert belonging("vl-jaaaaaaaaa-a1", None) == []
        found = belonging("vl-jaaaaaaaaa-a11", None)
        assert [process.pid for process in found] == [eleventh.pid]
    finally:
        eleventh.kill()
        eleventh.wait()


async def test_a_kill_drill_leaves_nothing_and_a_dead_instance_has_no_drills(
    make: Make, tmp_path: Path
) -> None:
    driver = make(WILD)
    made = await driver.create(order_of())
    pids = await wild_pids(state_of(tmp_path))
    assert "SIGKILL" in await driver.drill(made.instance, "kill", 0.0)
    assert living(pids) == set()
    with pytest.raises(DrillError, match="cannot kill"):
        await driver.drill(made.instance, "kill", 0.0)
    with pytest.raises(DrillError, match="no drill"):
        await driver.drill(made.instance, "flood", 0.0)


async def test_a_preempted_instance_has_its_notice_and_dies_by_any_drivers_look(
    make: Make, tmp_path: Path
) -> None:
    driver = make()
    made = await driver.create(order_of())
    await driver.drill(made.instance, "preempt", 0.4)
    notice = standin.read_json(state_of(tmp_path) / "notice.json")
    assert notice == {"grace_s": 0.4, "source": "drill"}
    assert [one.state for one in await driver.list()] == ["running"]
    other = make()
    start_s = time.monotonic()
    with anyio.fail_after(5):
        while await other.list():
            await anyio.sleep(0.02)
    assert time.monotonic() - start_s > 0.3


async def test_a_second_notice_does_not_put_off_the_end(make: Make) -> None:
    driver = make()
    made = await driver.create(order_of())
    await driver.drill(made.instance, "preempt", 0.3)
    await driver.drill(made.instance, "preempt", 600.0)
    with anyio.fail_after(5):
        while (await driver.get(made.instance)).state != "gone":
            await anyio.sleep(0.02)


async def test_two_attempts_of_one_job_never_share_the_working_directory(
    make: Make, tmp_path: Path
) -> None:
    driver = make()
    made = await driver.create(order_of())
    left = tmp_path / "local" / "work" / JOB / "left.txt"
    left.write_text("from attempt 1")
    with pytest.raises(CapacityError) as refused:
        await driver.create(order_of(attempt=2))
    assert NAME in refused.value.why
    await driver.terminate(made.instance)
    assert left.exists()
    await driver.create(order_of(attempt=2))
    assert left.parent.is_dir()
    assert not left.exists()


async def test_the_instance_inherits_no_secret_of_the_broker(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAULTLAYER_HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-tell")
    driver = make()
    await driver.create(order_of())
    environ = Path(f"/proc/{first_of(tmp_path, NAME).pid}/environ").read_bytes()
    assert b"do-not-tell" not in environ
    assert b"VAULTLAYER_HOME" not in environ
    assert f"{MARK}={NAME}".encode() in environ


async def test_a_first_process_that_cannot_start_is_an_error_with_its_last_word(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "init.py"
    broken.write_text("raise SystemExit('no such luck')")
    monkeypatch.setattr("vaultlayer_actors.drivers.local.driver.INIT", broken)
    driver = make()
    with pytest.raises(DriverError) as failed:
        await driver.create(order_of())
    assert failed.value.why == "no such luck"
    assert await driver.list() == []
    monkeypatch.undo()
    assert (await driver.create(order_of())).state == "running"


async def test_an_instance_goes_on_when_its_maker_dies_while_it_starts(
    make: Make, tmp_path: Path
) -> None:
    driver = make()
    directory = tmp_path / "local" / "instances" / NAME
    (directory / "state").mkdir(parents=True)
    (directory / "intent.json").write_text("{}")
    reader, writer = os.pipe()
    os.close(reader)
    agent = standin.agent_of(standin.QUIET, tmp_path)
    subprocess.run(
        [sys.executable, "-I", "-S", INIT, directory, str(writer), *agent],
        pass_fds=[writer],
        env={MARK: NAME},
        check=True,
    )
    os.close(writer)
    await until((directory / "instance.json").exists)
    await until(lambda: len(belonging(NAME, first_of(tmp_path, NAME))) == 2)
    assert [one.state for one in await driver.list()] == ["running"]


async def test_strangers_names_are_left_alone(make: Make) -> None:
    driver = make()
    await driver.terminate("../../etc")
    assert (await driver.get("../../etc")).state == "gone"
    with pytest.raises(DriverError, match="no name of an instance"):
        await driver.create(order_of(JobId("../../etc")))
