"""The line between hooks and agent, with real processes at its far end."""

import os
import socket
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from vaultlayer.errors import InternalError
from vaultlayer_agent.capture import HookEvent, HookServer, hook_path

pytestmark = pytest.mark.anyio

LIMIT_S = 20
IMPORT = "from vaultlayer_hooks import channel; import os, time\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "hooks.sock"


@contextmanager
def started(path: Path, code: str) -> Generator["subprocess.Popen[str]"]:
    """Run code under the hooks; it is killed at the end if need be."""
    process = subprocess.Popen(
        [sys.executable, "-c", IMPORT + code],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(hook_path()),
            "VAULTLAYER_EVENTS": str(path),
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


@asynccontextmanager
async def script(path: Path, code: str) -> AsyncGenerator["subprocess.Popen[str]"]:
    """The same, against a deadline."""
    with started(path, code) as process, anyio.fail_after(LIMIT_S):
        yield process


async def output_of(process: "subprocess.Popen[str]") -> str:
    return (await anyio.to_thread.run_sync(process.communicate))[0]


async def listen(server: HookServer, until: str) -> list[HookEvent]:
    heard: list[HookEvent] = []
    async for event in server:
        heard.append(event)
        if event.kind == until:
            break
    return heard


async def test_a_hook_greets_tells_and_leaves(path: Path) -> None:
    async with (
        HookServer(path) as server,
        script(path, "channel.tell('step', step=3, steps=9, loss=0.5, framework='hf')") as process,
    ):
        heard = await listen(server, "bye")
        assert [event.kind for event in heard] == ["hello", "step", "bye"]
        step = heard[1]
        assert (step.step, step.steps, step.loss, step.framework) == (3, 9, 0.5, "hf")
        assert {event.pid for event in heard} == {process.pid}


async def test_a_question_is_answered_after_it_has_been_dealt_with(path: Path) -> None:
    """A busy machine's agent takes a while; the script would write on into the files of its checkpoint."""
    code = (
        "begun = time.monotonic(); answered = channel.ask('checkpoint_end', path='p')\n"
        f"print(answered, os.path.exists('{path}.done'), time.monotonic() - begun < 2.0)"
    )
    async with HookServer(path) as server, script(path, code) as process:
        async for event in server:
            if event.kind == "checkpoint_end":
                await anyio.sleep(0.4)
                Path(f"{path}.done").touch()
            if event.kind == "bye":
                break
        assert (await output_of(process)).split() == ["True", "True", "True"]


async def test_an_agent_that_does_not_answer_costs_little(path: Path) -> None:
    """Three questions wait a quarter of a second each, and no more are waited for."""
    code = (
        "begun = time.monotonic(); told = [channel.ask('question', path='p') for _ in range(20)]\n"
        "print(any(told), time.monotonic() - begun < 3 * 0.25 + 0.5)"
    )
    deaf = socket.socket(socket.AF_UNIX)
    deaf.bind(str(path))
    deaf.listen()
    with deaf:
        async with script(path, code) as process:
            assert (await output_of(process)).split() == ["False", "True"]


async def test_an_agent_that_reads_nothing_never_blocks_the_script(path: Path) -> None:
    code = (
        "begun = time.monotonic()\n"
        "for step in range(20_000): channel.tell('step', drop=True, step=step, detail='x' * 100)\n"
        "for _ in range(2_000): channel.tell('loaded', path='x' * 100)\n"
        "print(time.monotonic() - begun < 5)"
    )
    deaf = socket.socket(socket.AF_UNIX)
    deaf.bind(str(path))
    deaf.listen()
    with deaf:
        async with script(path, code) as process:
            assert (await output_of(process)).split() == ["True"]


async def test_an_agent_that_dies_is_not_missed(path: Path) -> None:
    code = (
        f"while not os.path.exists('{path.with_suffix('.gone')}'): time.sleep(0.01)\n"
        "for _ in range(100): channel.tell('step', step=1); channel.ask('checkpoint_end'); channel.read()\n"
        "print('goes on')"
    )
    with ExitStack() as stack:
        async with HookServer(path) as server:
            process = stack.enter_context(started(path, code))
            await listen(server, "hello")
        path.with_suffix(".gone").touch()
        assert await output_of(process) == "goes on\n"


async def test_a_forked_child_keeps_silent(path: Path) -> None:
    code = (
        "pid = os.fork()\n"
        "if pid == 0:\n    channel.tell('step', step=1); channel.ask('checkpoint_end'); os._exit(0)\n"
        "os.waitpid(pid, 0); channel.tell('step', step=2)"
    )
    async with HookServer(path) as server, script(path, code):
        heard = await listen(server, "bye")
        assert [(event.kind, event.step) for event in heard] == [
            ("hello", None),
            ("step", 2),
            ("bye", None),
        ]


async def test_every_hook_hears_what_the_agent_says(path: Path) -> None:
    code = (
        "limit = time.monotonic() + 10\nsaid = []\n"
        "while not said and time.monotonic() < limit: said = channel.read(); time.sleep(0.01)\n"
        "print(said[0]['kind'], said[0]['grace_s'])"
    )
    async with HookServer(path) as server, script(path, code) as one, script(path, code) as two:
        await listen(server, "hello")
        await listen(server, "hello")
        assert await server.tell("save", grace_s=30) == 2
        assert (await output_of(one)).split() == ["save", "30"]
        assert (await output_of(two)).split() == ["save", "30"]


async def test_nonsense_on_the_line_is_passed_over(path: Path) -> None:
    async with HookServer(path) as server:
        with socket.socket(socket.AF_UNIX) as hook:
            hook.connect(str(path))
            hook.sendall(
                b'nonsense\n{"kind": 3}\n{"step": 1}\n{"kind": "step", "step": 7, "new": {}}\n'
            )
            with anyio.fail_after(LIMIT_S):
                event = await anext(aiter(server))
        assert (event.kind, event.step) == ("step", 7)


async def test_a_line_without_end_is_cut_off(path: Path) -> None:
    async with HookServer(path):
        with socket.socket(socket.AF_UNIX) as hook:
            hook.connect(str(path))
            hook.settimeout(LIMIT_S)

            def flood() -> bool:
                limit_s = time.monotonic() + LIMIT_S
                try:
                    while time.monotonic() < limit_s:
                        hook.sendall(b"x" * 10_000)
                except OSError:
                    return True
                return False

            assert await anyio.to_thread.run_sync(flood)


async def test_a_path_that_no_socket_takes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InternalError):
        async with HookServer(tmp_path / ("x" * 120)):
            pass


async def test_the_socket_is_ours_alone_and_gone_afterwards(path: Path) -> None:
    async with HookServer(path):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not path.exists()
