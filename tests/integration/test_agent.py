"""A real agent process against a scripted broker on a real bus, with a real bucket."""

import os
import signal
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from scripted_broker import ScriptedBroker, admin_store, eventually, incarnation
from servers import NatsServer, running_nats
from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.events import JobSpec
from vaultlayer.ids import Attempt
from vaultlayer_agent.core import Status
from vaultlayer_agent.process import members
from weed import WeedServer, free_ports

pytestmark = [pytest.mark.anyio, pytest.mark.integration]

COUNTING = """
import json, os, sys, time
from pathlib import Path
state = Path("state.json")
start = json.loads(state.read_text())["step"] if state.exists() and "--resume" in sys.argv else 0
for step in range(start + 1, int(sys.argv[1]) + 1):
    time.sleep(0.05)
    draft = Path("state.json.part")
    draft.write_text(json.dumps({"step": step, "attempt": os.environ["VAULTLAYER_ATTEMPT"]}))
    draft.replace(state)
    with open("log.txt", "a") as log:
        log.write(f"{step}\\n")
    print(f"step {step}/{sys.argv[1]} loss {1 / step:.4f}")
print("finished")
"""

SAVING = """
import json, os, struct, sys, time, zipfile
from pathlib import Path

def torch_file(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"x" * 1000)
        file.writestr("archive/data/0", os.urandom(50_000))

print("args", sys.argv[1:])
frozen = bytes(range(256)) * 1000
for step in range(1, 400):
    time.sleep(0.05)
    if step % 20 == 0:
        path = Path(f"out/checkpoint-{step}")
        path.mkdir(parents=True, exist_ok=True)
        header = json.dumps({"w": {"dtype": "U8", "shape": [256_000], "data_offsets": [0, 256_000]}})
        (path / "model.safetensors").write_bytes(
            struct.pack("<Q", len(header)) + header.encode() + frozen
        )
        for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
            torch_file(path / name)
        (path / "trainer_state.json").write_text(json.dumps({"global_step": step}))
    print(f"step {step} loss {1 / step:.4f}")
"""


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Generator[WeedServer]:
    server = WeedServer(
        path=tmp_path_factory.mktemp("weed"), ports=free_ports(), bucket="vaultlayer"
    )
    try:
        anyio.run(server.start)
        yield server
    finally:
        server.end()


@pytest.fixture(scope="module")
def shared_nats(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        yield server


@asynccontextmanager
async def broker(
    nats: NatsServer, weed: WeedServer, path: Path, script: str, *words: str, **spec: object
) -> AsyncGenerator[ScriptedBroker]:
    code = path / "code"
    code.mkdir()
    (code / "train.py").write_text(script)
    made = msgspec.convert({"command": ["python", "train.py", *words], **spec}, JobSpec)
    rig = ScriptedBroker(nats=nats, bucket=admin_store(weed), path=path / "machine", spec=made)
    rig.path.mkdir()
    async with rig.serve():
        await rig.send_code(code)
        yield rig


async def test_a_whole_life(shared_nats: NatsServer, weed: WeedServer, tmp_path: Path):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "20") as rig:
        async with rig.agent() as agent:
            assert await agent.left() == Status.OK, agent.log
        assert not (agent.state / "boot.json").exists()
        assert [verb for verb in rig.verbs(1) if verb not in {"tier", "brief", "secrets"}] == [
            *("enrol", "store_credential", "ready", "started", "stepped", "ckpt", "exit")
        ]
        exit_report = rig.heard("exit")[0]
        assert (exit_report.exit_code, exit_report.signal, exit_report.last_step) == (0, 0, 20)
        assert rig.heard("stepped")[0].step == 1
        text = await rig.text(1)
        assert text.count("\nstep ") == 20
        assert text.index("attempt 1 starts") < text.index("step 1/20") < text.index("finished")
        last = rig.heard("ckpt")[-1]
        assert last.final
        assert last.key.startswith(rig.prefix(1))
        files = await rig.restored(last, tmp_path / "restored")
        assert (files / "log.txt").read_text() == "".join(f"{n}\n" for n in range(1, 21))
        assert not (files / "train.py").exists(), "code that did not change is not output"
        assert [beat.number for beat in rig.heard("beat")] == sorted(
            {beat.number for beat in rig.heard("beat")}
        )
        assert any(seen.step and seen.steps == 20 and seen.loss for seen in rig.progress)


async def test_the_first_beat_comes_at_once(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "1") as rig:
        began_s = time.monotonic()
        async with rig.agent() as agent:
            await eventually(lambda: rig.heard("beat"))
            took_s = time.monotonic() - began_s
            await agent.left()
    assert took_s < 2.0, f"{took_s:.2f} s on a machine that may be busy; 0.4 s on an idle one"


async def test_the_next_attempt_goes_on_where_the_killed_one_had_committed(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    resume = {"resume_args": "--from {latest}", "outputs": ["../results"]}
    async with broker(shared_nats, weed, tmp_path, SAVING, **resume) as rig:
        async with rig.agent(1) as first:
            await eventually(lambda: len(rig.heard("ckpt")) >= 2, why=lambda: first.log)
            first.kill()
        mark = f"{rig.job}-1-{incarnation(1)}"
        await eventually(lambda: not members(mark, 0))
        committed = rig.head
        assert committed is not None
        (rig.work / "uncommitted").write_text("of the dead attempt")
        async with rig.agent(2) as second:
            await eventually(lambda: rig.heard("started", 2), why=lambda: second.log)
            started = rig.heard("started", 2)[0]
            assert started.resumed_from == committed.manifest
            assert rig.heard("ready", 2)[0].prefetched == committed.manifest
            assert not (rig.work / "uncommitted").exists()
            text = ""
            with anyio.fail_after(10):
                while "args" not in text:
                    text = await rig.text(2)
                    await anyio.sleep(0.05)
            assert f"args ['--from', '{rig.work}/out/checkpoint-" in text
            assert "goes on from checkpoint" in text
            assert "lies outside the working directory" in text, "which rules exact resume out"
            await eventually(lambda: rig.heard("ckpt", 2), why=lambda: second.log)
            commit = rig.heard("ckpt", 2)[0]
            assert commit.parent == committed.manifest
            assert commit.new_b > 0, "what was restored is not committed again"
            assert commit.new_b < commit.size_b, "what the first attempt saved is not sent again"


async def test_the_script_sees_the_users_world_and_none_of_ours(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    script = "import json, os; json.dump(dict(os.environ), open('env.json', 'w'))"
    async with broker(shared_nats, weed, tmp_path, script) as rig:
        rig.env = {"TOKEN": "hush", "OMP_NUM_THREADS": "3"}
        ours = {"VAULTLAYER_SECRET": "x", "VIRTUAL_ENV": "/agents/own", "AGENT_ONLY": "1"}
        async with rig.agent(environ=ours) as agent:
            assert await agent.left() == Status.OK
        env = msgspec.json.decode((rig.work / "env.json").read_bytes(), type=dict[str, str])
        assert not {"VAULTLAYER_SECRET", "VIRTUAL_ENV", "AGENT_ONLY"} & set(env)
        assert env["HOME"] == str(rig.path)
        assert env["TOKEN"] == "hush"
        assert env["OMP_NUM_THREADS"] == "3"
        assert env["VAULTLAYER_JOB"] == rig.job
        assert env["VAULTLAYER_CHECKPOINT_DIR"] == f"{rig.work}/checkpoints"
        assert env["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
        assert "VAULTLAYER_RESUME" not in env
        assert env["PYTHONPATH"].endswith("hooks")
        assert "hush" not in agent.log
        assert "hush" not in await rig.text(1)


async def test_a_fenced_agent_kills_its_script_and_leaves(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, SAVING) as rig:
        mark = f"{rig.job}-1-{incarnation(1)}"
        async with rig.agent() as agent:
            await eventually(lambda: rig.heard("started"), why=lambda: agent.log)
            await eventually(lambda: members(mark, 0))
            rig.fenced = True
            assert await agent.left(5.0) == Status.FENCED
        assert members(mark, 0) == set()
        assert not rig.heard("exit")


async def test_a_stopped_job_commits_what_it_has(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "1000") as rig:
        async with rig.agent() as agent:
            await eventually(lambda: rig.heard("stepped"), why=lambda: agent.log)
            subject = subjects.control(rig.job, Attempt(1), "stop")
            await rig.bus.publish(subject, ms.ControlMessage(reason="cancelled"))
            assert await agent.left() == Status.STOPPED, agent.log
        report = rig.heard("exit")[0]
        assert (report.exit_code, report.signal) == (143, 15)
        assert rig.heard("ckpt")[-1].final


async def test_a_standby_waits_for_its_order(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "3") as rig:
        rig.takes_over = False
        async with rig.agent() as agent:
            await eventually(lambda: rig.heard("ready"), why=lambda: agent.log)
            await eventually(lambda: rig.heard("beat")[-1].stage == "ready")
            assert not rig.heard("started")
            subject = subjects.control(rig.job, Attempt(1), "takeover")
            await rig.bus.publish(subject, ms.ControlMessage(takeover=rig.order(1)))
            assert await agent.left() == Status.OK
        assert rig.heard("exit")[0].exit_code == 0


async def test_lost_replies_are_asked_for_again_by_the_same_name(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "3") as rig:
        rig.deaf = {"ready": 1, "started": 1, "ckpt": 1, "exit": 1}
        async with rig.agent() as agent:
            assert await agent.left(60.0) == Status.OK, agent.log
        for verb in rig.deaf:
            requests = rig.heard(verb)
            assert len(requests) == 2, verb
            assert requests[0] == requests[1]


async def test_training_goes_on_while_the_broker_is_away_and_nothing_is_lost(
    weed: WeedServer, tmp_path: Path
):
    with running_nats(tmp_path) as nats:
        async with broker(nats, weed, tmp_path, COUNTING, "120") as rig:
            async with rig.agent() as agent:
                await eventually(lambda: rig.heard("stepped"), why=lambda: agent.log)
                nats.kill()
                steps = rig.work / "log.txt"
                before = len(steps.read_text().splitlines())
                await eventually(lambda: len(steps.read_text().splitlines()) > before + 40)
                assert agent.process.poll() is None
                heard = len(rig.heard("beat"))
                nats.start()
                await eventually(lambda: len(rig.heard("beat")) > heard + 2, why=lambda: agent.log)
                assert await agent.left() == Status.OK, agent.log
            text = await rig.text(1)
            steps_told = [line for line in text.splitlines() if line.startswith("step ")]
            assert len(steps_told) == 120
            assert rig.heard("exit")[0].last_step == 120


async def test_an_orphan_saves_to_its_own_prefix_and_ends_itself(weed: WeedServer, tmp_path: Path):
    with running_nats(tmp_path) as nats:
        async with broker(nats, weed, tmp_path, COUNTING, "10000") as rig:
            rig.orphan_s = 2.0
            mark = f"{rig.job}-1-{incarnation(1)}"
            async with rig.agent() as agent:
                await eventually(lambda: rig.heard("stepped"), why=lambda: agent.log)
                nats.kill()
                assert await agent.left(40.0) == Status.ORPHANED, agent.log
            assert members(mark, 0) == set()
            kept = [stat.key async for stat in rig.bucket.list(rig.prefix(1))]
            assert any("/manifests/" in key for key in kept)


async def test_a_strict_script_stands_still_without_a_lease(weed: WeedServer, tmp_path: Path):
    with running_nats(tmp_path) as nats:
        async with broker(nats, weed, tmp_path, COUNTING, "10000", strict=True) as rig:
            rig.lease_s = 1.0
            async with rig.agent() as agent:
                await eventually(lambda: rig.heard("stepped"), why=lambda: agent.log)
                nats.kill()
                await anyio.sleep(2.5)
                steps = rig.work / "log.txt"
                stood = steps.stat().st_size
                await anyio.sleep(0.5)
                assert steps.stat().st_size == stood
                nats.start()
                await eventually(lambda: steps.stat().st_size > stood, why=lambda: agent.log)


async def test_a_damaged_checkpoint_is_rejected_loudly_and_its_parent_restored(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, SAVING) as rig:
        async with rig.agent(1) as first:
            await eventually(lambda: len(rig.heard("ckpt")) >= 2, why=lambda: first.log)
            first.kill()
        assert rig.head is not None
        parent, damaged = rig.older[-1], rig.head
        newest = next(c for c in rig.heard("ckpt") if c.manifest == damaged.manifest)
        older = next(c for c in rig.heard("ckpt") if c.manifest == parent.manifest)
        known = {pack.key for pack in (await rig.manifest(older)).packs}
        for pack in (await rig.manifest(newest)).packs:
            if pack.key not in known:
                await rig.bucket.put(pack.key, b"\0" * pack.size_b)
        async with rig.agent(2) as second:
            await eventually(lambda: rig.heard("started", 2), why=lambda: second.log)
            assert [r.manifest for r in rig.heard("reject", 2)] == [damaged.manifest]
            assert rig.heard("started", 2)[0].resumed_from == parent.manifest
            text = ""
            with anyio.fail_after(10):
                while "goes on from" not in text:
                    text = await rig.text(2)
                    await anyio.sleep(0.05)
            assert "[vaultlayer] CHECKPOINT DAMAGED" in text


async def test_a_notice_reaches_the_broker(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "40") as rig, rig.agent() as agent:
        await eventually(lambda: rig.heard("stepped"), why=lambda: agent.log)
        draft = agent.state / "notice.tmp"
        draft.write_text('{"grace_s": 30, "source": "drill"}')
        draft.replace(agent.state / "notice.json")
        notice = (await eventually(lambda: rig.heard("notice")))[0]
        assert (notice.grace_s, notice.source) == (30.0, "drill")
        os.kill(agent.process.pid, signal.SIGTERM)
        assert await agent.left() == Status.OK, "it goes on while the machine lasts"


async def test_a_terminated_standby_says_so_and_leaves(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "3") as rig:
        rig.takes_over = False
        async with rig.agent() as agent:
            await eventually(lambda: rig.heard("ready"), why=lambda: agent.log)
            os.kill(agent.process.pid, signal.SIGTERM)
            assert await agent.left() == Status.NOTICED
        assert rig.heard("notice")[0].source == "sigterm"


async def test_a_command_that_is_not_there_ends_like_in_a_shell(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, "") as rig:
        rig.spec = msgspec.structs.replace(rig.spec, command=["no-such-program"])
        async with rig.agent() as agent:
            assert await agent.left() == Status.OK
        assert rig.heard("exit")[0].exit_code == 127
        assert "no-such-program: command not found" in await rig.text(1)


async def test_store_keys_are_renewed_before_they_expire(
    shared_nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    async with broker(shared_nats, weed, tmp_path, COUNTING, "80") as rig:
        rig.store_life_s = 2.0
        async with rig.agent() as agent:
            assert await agent.left() == Status.OK
        assert len(rig.heard("store_credential")) >= 3
