"""A script that never saves, a real agent, a bus and a bucket: killed, replayed, and its ends compared."""

import subprocess
import sys
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import msgspec
import pytest

from scripted_broker import SCRIPT_PATH, ScriptedBroker, admin_store, eventually, incarnation
from servers import NatsServer, running_nats
from vaultlayer import messages as ms
from vaultlayer.checkpoint.restore import restore
from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import upload
from vaultlayer.events import JobSpec
from vaultlayer_agent.core import Status
from vaultlayer_agent.process import members
from weed import WeedServer, free_ports

pytest.importorskip("torch")
pytestmark = [pytest.mark.anyio, pytest.mark.train, pytest.mark.timeout(400)]

SCRIPT = Path(__file__).parents[1] / "jobs" / "never_saves.py"
LIMIT_S = 120.0
LOGS = ("metrics.csv", "best.txt")


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
def nats(tmp_path_factory: pytest.TempPathFactory) -> Generator[NatsServer]:
    with running_nats(tmp_path_factory.mktemp("bus")) as server:
        yield server


@asynccontextmanager
async def broker(
    nats: NatsServer, weed: WeedServer, path: Path, script: str, *words: str, **spec: object
) -> AsyncGenerator[ScriptedBroker]:
    code = path / "code"
    code.mkdir()
    (code / "train.py").write_text(script)
    wish = {"command": ["python", "train.py", *words], "snapshot_every": "2s", **spec}
    rig = ScriptedBroker(
        nats=nats,
        bucket=admin_store(weed),
        path=path / "machine",
        spec=msgspec.convert(wish, JobSpec),
    )
    rig.env["OMP_NUM_THREADS"] = "1"
    rig.path.mkdir()
    async with rig.serve():
        await rig.send_code(code)
        yield rig


def bare(path: Path, script: str, *words: str) -> Path:
    """Run the script as it is, and give the directory of what it leaves."""
    path.mkdir()
    (path / "train.py").write_text(script)
    environ = {"PATH": SCRIPT_PATH, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, "train.py", *words], cwd=path, env=environ, check=True)
    return path


def same(found: Any, wanted: Any) -> bool:
    """Whether two nests of tensors are equal to the bit."""
    import torch  # noqa: PLC0415

    if isinstance(wanted, torch.Tensor):
        return torch.equal(found, wanted)
    if isinstance(wanted, dict):
        pairs = cast("dict[Any, Any]", wanted)
        return found.keys() == pairs.keys() and all(same(found[k], pairs[k]) for k in pairs)
    if isinstance(wanted, list | tuple):
        items = cast("list[Any]", wanted)
        return len(found) == len(items) and all(map(same, found, items))
    return found == wanted


def load(path: Path) -> Any:
    import torch  # noqa: PLC0415

    return torch.load(path, weights_only=True)


async def kill_after_snapshots(rig: ScriptedBroker, attempt: int, snapshots: int) -> None:
    """Let an attempt go on until so many snapshots of its own are committed, then take its machine."""

    def committed() -> bool:
        return len(rig.heard("ckpt", attempt)) >= snapshots

    async with rig.agent(attempt) as agent:
        await eventually(committed, LIMIT_S, lambda: agent.log)
        agent.kill()
    mark = f"{rig.job}-{attempt}-{incarnation(attempt)}"
    await eventually(lambda: not members(mark, 0))


async def test_a_script_that_never_saves_ends_as_if_nothing_had_happened(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    script = SCRIPT.read_text()
    words = ("--epochs", "50")
    wanted = bare(tmp_path / "bare", script, *words)
    async with broker(nats, weed, tmp_path, script, *words) as rig:
        await kill_after_snapshots(rig, 1, 2)
        await kill_after_snapshots(rig, 2, 1)
        async with rig.agent(3) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        first, second, third = (rig.heard("started", number)[0] for number in (1, 2, 3))
        assert first.resumed_step is None
        assert 0 < second.resumed_step < third.resumed_step
        text = await rig.text(3)
        assert f"resumed exactly at step {third.resumed_step}" in text, text
        skipped = (third.resumed_step - 1) // 20 * 20
        assert f"step {skipped}/" not in text, "it was not skipped"
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    assert same(load(left / "final.pt"), load(wanted / "final.pt"))
    for name in LOGS:
        assert (left / name).read_text() == (wanted / name).read_text()
    tiers = [report.tier for report in rig.heard("tier")]
    assert set(tiers) == {"B"}, tiers


async def spoil_newest(rig: ScriptedBroker, path: Path) -> None:
    """Let the newest checkpoint hold a snapshot with one byte changed, as a broken disk would save it."""
    newest = rig.heard("ckpt")[-1]
    manifest = await rig.manifest(newest)
    roots = {entry.root for entry in manifest.files}
    await restore(rig.bucket, manifest, {root: path / root for root in roots})
    [snapshot] = (path / "ghost").rglob("snap-*.vls")
    content = bytearray(snapshot.read_bytes())
    content[-100] ^= 1
    snapshot.write_bytes(content)
    files = [file for root in roots for file in walk(path / root, root)]
    sent = await upload(
        rig.bucket,
        files,
        prefix=rig.prefix(1),
        job=rig.job,
        attempt=1,
        incarnation=incarnation(1),
        seq=newest.seq + 1,
        step=newest.step,
        meta=manifest.meta,
    )
    rig.head = ms.CheckpointRef(manifest=sent.manifest, key=sent.key, step=newest.step)


async def test_a_damaged_snapshot_is_not_believed_and_the_one_before_it_is_exact(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    script = SCRIPT.read_text()
    words = ("--epochs", "40")
    wanted = bare(tmp_path / "bare", script, *words)
    async with broker(nats, weed, tmp_path, script, *words) as rig:
        await kill_after_snapshots(rig, 1, 2)
        older = rig.older[-1]
        await spoil_newest(rig, tmp_path / "spoiled")
        async with rig.agent(2) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        text = await rig.text(2)
        assert "REPLAY DIVERGED" in text, text
        assert "going back to the snapshot before it" in text
        steps = [report.resumed_step for report in rig.heard("started", 2)]
        assert rig.head is not None
        assert steps[1] == older.step
        assert f"resumed exactly at step {older.step}" in text
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    assert same(load(left / "final.pt"), load(wanted / "final.pt"))
    assert (left / "metrics.csv").read_text() == (wanted / "metrics.csv").read_text()


WRITES_LAST = """
import time, torch
torch.manual_seed(1)
model = torch.nn.Linear(8, 2)
steps = torch.optim.Adam(model.parameters(), 1e-2)
for step in range(1500):
    loss = model(torch.randn(16, 8)).pow(2).mean()
    steps.zero_grad()
    loss.backward()
    steps.step()
    time.sleep(0.002)
torch.save(model.state_dict(), "final.pt")
"""


async def test_a_script_that_writes_nothing_before_its_end_is_replayed_too(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    wanted = bare(tmp_path / "bare", WRITES_LAST)
    async with broker(nats, weed, tmp_path, WRITES_LAST, snapshot_every="200steps") as rig:
        await kill_after_snapshots(rig, 1, 1)
        async with rig.agent(2) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        text = await rig.text(2)
        assert "DIVERGED" not in text, text
        [started] = rig.heard("started", 2)
        assert started.resumed_step >= 200
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    assert same(load(left / "final.pt"), load(wanted / "final.pt"))


async def test_two_ranks_go_on_together_and_the_tier_stays_what_it_is(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    script = (Path(__file__).parents[1] / "matrix" / "scripts" / "ddp_gloo.py").read_text()
    torchrun = ["python", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    words = ["train.py", "--epochs", "40"]
    wanted = tmp_path / "bare"
    wanted.mkdir()
    (wanted / "train.py").write_text(script)
    environ = {"PATH": SCRIPT_PATH, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *torchrun[1:], *words], cwd=wanted, env=environ, check=True)
    wish = {"command": [*torchrun, *words], "snapshot_every": "60steps"}
    async with broker(nats, weed, tmp_path, script, **wish) as rig:
        await kill_after_snapshots(rig, 1, 2)
        async with rig.agent(2) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        text = await rig.text(2)
        assert "DIVERGED" not in text, text
        [started] = rig.heard("started", 2)
        assert started.resumed_step >= 60
        assert started.resumed_step % 60 == 0
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    assert same(load(left / "ddp_run" / "last.pt"), load(wanted / "ddp_run" / "last.pt"))
    for rank in (0, 1):
        name = f"ddp_run/rng_{rank}.pt"
        assert same(load(left / name), load(wanted / name))
    tiers = [report.tier for report in rig.heard("tier")]
    assert set(tiers) == {"B"}, tiers


TWISTED = """
import os
if os.environ.get("VAULTLAYER_ATTEMPT") == "2":
    zero_grad = torch.optim.AdamW.zero_grad
    def asking(self, *given, **named):
        torch.ones(1).item()
        return zero_grad(self, *given, **named)
    torch.optim.AdamW.zero_grad = asking

if __name__ == "__main__":"""


async def test_a_script_that_does_something_else_starts_at_zero_and_it_is_said(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    script = SCRIPT.read_text().replace('\nif __name__ == "__main__":', TWISTED)
    words = ("--epochs", "25")
    wanted = bare(tmp_path / "bare", script, *words)
    async with broker(nats, weed, tmp_path, script, *words) as rig:
        await kill_after_snapshots(rig, 1, 2)
        async with rig.agent(2) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        text = await rig.text(2)
        assert text.count("REPLAY DIVERGED") == 2, text
        assert "starts again from zero" in text
        steps = [report.resumed_step for report in rig.heard("started", 2)]
        assert len(steps) == 3
        assert steps[0] > steps[1]
        assert steps[2] is None
        fallen = [one for one in rig.heard("tier", 2) if "diverged" in one.detail]
        assert [one.tier for one in fallen] == ["B", "E"]
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    assert same(load(left / "final.pt"), load(wanted / "final.pt"))
    assert (left / "metrics.csv").read_text() == (wanted / "metrics.csv").read_text()


TRAINER = f"""
import sys
sys.path.append({str(SCRIPT.parent)!r})
import hf_variants
hf_variants.main()
"""


async def test_a_trainer_that_dies_soon_after_its_first_checkpoint_goes_on_exactly(
    nats: NatsServer, weed: WeedServer, tmp_path: Path
):
    """Its checkpoint lacks a count; no snapshot would be asked for before twenty seconds."""
    pytest.importorskip("transformers")
    words = ("--variant", "counting", "--steps", "40", "--save-steps", "14", "--step-delay", "0.2")
    wanted = bare(tmp_path / "bare", TRAINER, *words)
    async with broker(nats, weed, tmp_path, TRAINER, *words, snapshot_every="10m") as rig:
        await kill_after_snapshots(rig, 1, 1)
        async with rig.agent(2) as agent:
            assert await agent.left(LIMIT_S) == Status.OK, agent.log
        text = await rig.text(2)
        assert "resumed exactly at step" in text, text
        left = await rig.restored(rig.heard("ckpt")[-1], tmp_path / "left")
    weights = "out/checkpoint-40/model.safetensors"
    assert (left / weights).read_bytes() == (wanted / weights).read_bytes()
    assert rig.heard("tier")[-1].tier == "B"
