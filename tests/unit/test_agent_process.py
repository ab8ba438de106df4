"""The script as a process tree that never outlives the agent."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from vaultlayer_agent.process import Ending, Script, members

PATH = {"PATH": os.environ["PATH"]}


def script(path: Path, *command: str, mark: str = "") -> Script:
    return Script(command, cwd=path, env=PATH, mark=mark or f"test-{os.urandom(6).hex()}")


async def eventually(holds: Callable[[], object], limit_s: float = 10.0) -> None:
    give_up_at = time.monotonic() + limit_s
    while not holds():
        assert time.monotonic() < give_up_at, "it never came true"
        await anyio.sleep(0.01)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state != b"Z"


async def run(path: Path, *command: str) -> tuple[Ending, bytes]:
    run = script(path, *command)
    heard: list[bytes] = []
    try:
        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                group.start_soon(run.pump, heard.append)
            ending = await run.wait()
            return ending, b"".join(heard)
    finally:
        run.close()


@pytest.mark.anyio
async def test_both_streams_are_heard_in_order_and_the_status_is_the_scripts_own(tmp_path: Path):
    ending, heard = await run(tmp_path, "sh", "-c", "echo one; echo two >&2; echo three; exit 7")
    assert heard == b"one\ntwo\nthree\n"
    assert ending == Ending(7)


@pytest.mark.anyio
async def test_a_script_killed_by_a_signal_ends_as_a_shell_would_say(tmp_path: Path):
    ending, _ = await run(tmp_path, "sh", "-c", "kill -SEGV $$")
    assert ending == Ending(128 + 11, 11)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("program", "status", "text"),
    [("no-such-program", 127, b"command not found"), ("/etc/passwd", 126, b"Permission denied")],
)
async def test_a_program_that_cannot_be_started_is_told_like_in_a_shell(
    tmp_path: Path, program: str, status: int, text: bytes
):
    ending, heard = await run(tmp_path, program)
    assert ending.exit_code == status
    assert text in heard


@pytest.mark.anyio
async def test_the_script_has_only_the_environment_it_is_given(tmp_path: Path):
    _, heard = await run(tmp_path, "/usr/bin/env")
    names = {line.partition(b"=")[0] for line in heard.splitlines()}
    assert names <= {b"PATH", b"VAULTLAYER_SCRIPT", b"LC_CTYPE", b"PWD", b"_"}


@pytest.mark.anyio
async def test_sigpipe_ends_a_pipeline_as_usual(tmp_path: Path):
    ending, _ = await run(tmp_path, "bash", "-c", "yes | head -1; echo ${PIPESTATUS[0]} >status")
    assert ending == Ending(0)
    assert (tmp_path / "status").read_text() == "141\n"


@pytest.mark.anyio
@pytest.mark.parametrize("paused", [False, True])
async def test_a_stop_is_gentle_first(tmp_path: Path, paused: bool):
    run = script(
        tmp_path, "sh", "-c", "trap 'echo bye >said; exit 3' TERM; touch up; sleep 60 & wait"
    )
    try:
        await eventually((tmp_path / "up").exists)
        if paused:
            run.pause()
        assert await run.stop(10.0) == Ending(3)
    finally:
        run.close()
    assert (tmp_path / "said").read_text() == "bye\n"


@pytest.mark.anyio
async def test_a_stop_reaches_a_paused_script_and_kills_one_that_will_not_go(tmp_path: Path):
    run = script(tmp_path, "sh", "-c", "trap '' TERM; touch up; while :; do sleep 0.1; done")
    try:
        await eventually((tmp_path / "up").exists)
        run.pause()
        assert await run.stop(0.3) == Ending(137, 9)
    finally:
        run.close()


@pytest.mark.anyio
async def test_a_paused_script_stands_still_and_goes_on(tmp_path: Path):
    run = script(tmp_path, "sh", "-c", "while :; do echo x >>ticks; sleep 0.02; done")
    try:
        await eventually((tmp_path / "ticks").exists)
        run.pause()
        await anyio.sleep(0.1)
        size = (tmp_path / "ticks").stat().st_size
        await anyio.sleep(0.2)
        assert (tmp_path / "ticks").stat().st_size == size
        run.resume()
        await eventually(lambda: (tmp_path / "ticks").stat().st_size > size)
    finally:
        run.close()


@pytest.mark.anyio
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_kill_finds_what_has_left_the_process_group(tmp_path: Path):
    mark = f"test-{os.urandom(6).hex()}"
    daemon = "setsid sh -c 'echo $$ >daemon; exec sleep 60' >/dev/null 2>&1 & sleep 60"
    run = script(tmp_path, "sh", "-c", daemon, mark=mark)
    try:
        await eventually(
            lambda: (tmp_path / "daemon").exists() and (tmp_path / "daemon").read_text()
        )
        stray = int((tmp_path / "daemon").read_text())
        assert stray in members(mark, 0)
        assert run.kill()
        assert not is_alive(stray)
        assert await run.wait() == Ending(137, 9)
    finally:
        run.close()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("wrapped", [False, True], ids=["direct", "behind a shell"])
def test_the_script_dies_with_the_agent(tmp_path: Path, wrapped: bool):
    words = ["sh", "-c", "sleep 61; :"] if wrapped else ["sleep", "61"]
    agent = f"""
import os, sys, time
from pathlib import Path
from vaultlayer_agent.process import Script
run = Script({words!r}, cwd=Path("."), env={{"PATH": os.environ["PATH"]}}, mark=sys.argv[1])
print(run.pid, flush=True)
time.sleep(60)
"""
    mark = f"test-{os.urandom(6).hex()}"
    root = Path(__file__).parents[2]
    path = f"{root}:{root / 'agent'}"
    process = subprocess.Popen(
        [sys.executable, "-c", agent, mark],
        stdout=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert process.stdout is not None
    try:
        group = int(process.stdout.readline())
        wanted = 2 if wrapped else 1
        give_up_at = time.monotonic() + 10
        while len(members(mark, group)) < wanted and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert len(members(mark, group)) == wanted
        process.send_signal(signal.SIGKILL)
        while members(mark, group) and time.monotonic() < give_up_at:
            time.sleep(0.01)
        assert members(mark, group) == set()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
