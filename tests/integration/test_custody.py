# pyright: reportPrivateUsage=false
"""The broker's own look into a real bucket: commits are verified, HEAD is mirrored, old objects are swept."""

import time
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from vaultlayer import events as ev
from vaultlayer.checkpoint.manifest import manifest_key
from vaultlayer.checkpoint.source import walk
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.errors import CheckpointError, StoreMissingError
from vaultlayer.ids import ActorId, Attempt, Incarnation, JobId, job_prefix, prefix_of
from vaultlayer.job import Job
from vaultlayer.messages import CommitRequest
from vaultlayer.settings import RunSettings, Settings
from vaultlayer.store.s3 import S3Store
from vaultlayer_actors.context import ActorContext
from vaultlayer_actors.dispatcher.custody import SWEEP_EVERY_S, Custody, Head
from vaults import STREAMS, VaultWorld, incarnation, vault_world

pytestmark = [pytest.mark.integration, pytest.mark.anyio]
DAY_S = 24 * 3600.0


@dataclass
class Desk:
    """A custody on a real vault and bucket, with a clock that can be put forward."""

    world: VaultWorld
    files: Path
    later_s: float = 0.0
    custody: Custody = field(init=False)
    job: JobId = field(init=False)

    async def open(self) -> None:
        context = ActorContext(
            actor=ActorId("dispatcher-test"),
            kind="dispatcher",
            bus=self.world.bus,
            log=self.world.bus.job_log(STREAMS),
            ledger=self.world.ledger,
            settings=self.world.settings,
            terms=self.world.settings.lease.terms(),
            home=self.world.home,
            now_s=lambda: time.time() + self.later_s,
        )
        self.custody = Custody(context)
        self.job = await self.world.submit()
        await self.world.order(self.job, 1)
        await self.world.say(self.job, ev.Created(attempt=1, instance="i"))
        await self.world.say(self.job, ev.Ready(attempt=1))
        await self.world.say(self.job, ev.Takeover(attempt=1))

    async def store(self) -> S3Store:
        return await self.custody._open()

    async def state(self) -> Job:
        job = await self.world.ledger.read(self.job)
        assert job is not None
        return job

    def prefix(self, attempt: int = 1) -> str:
        return prefix_of("", self.job, Attempt(attempt), Incarnation(incarnation(attempt)))

    async def save(self, seq: int, attempt: int = 1) -> tuple[Uploaded, CommitRequest]:
        (self.files / "out.txt").write_text(f"step {seq} of {attempt}" * 100)
        sent = await upload(
            await self.store(),
            list(walk(self.files, "work")),
            prefix=self.prefix(attempt),
            job=self.job,
            attempt=attempt,
            incarnation=incarnation(attempt),
            seq=seq,
        )
        key = manifest_key(self.prefix(attempt), sent.manifest)
        request = CommitRequest(
            cmd_id=f"c{attempt}.{seq}",
            incarnation=incarnation(attempt),
            seq=seq,
            manifest=sent.manifest,
            key=key,
        )
        return sent, request

    async def commit(self, seq: int) -> CommitRequest:
        _, request = await self.save(seq)
        await self.custody.verify(await self.state(), 1, request)
        event = ev.CheckpointCommitted(
            attempt=1, seq=seq, manifest=request.manifest, key=request.key, step=seq
        )
        await self.world.say(self.job, event)
        return request

    async def head(self) -> Head:
        blob = await (await self.store()).get(f"{job_prefix('', self.job)}HEAD")
        return msgspec.json.decode(blob.data, type=Head)


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncGenerator[Desk]:
    settings = Settings(run=RunSettings(keep_last=2, keep_every=0))
    (tmp_path / "files").mkdir()
    async with vault_world(tmp_path / "home", settings) as world, world.vault():
        made = Desk(world, tmp_path / "files")
        await made.open()
        yield made


async def test_a_commit_must_lie_below_its_own_attempts_prefix(desk: Desk) -> None:
    _, request = await desk.save(1, attempt=2)
    with pytest.raises(CheckpointError):
        await desk.custody.verify(await desk.state(), 1, request)


async def test_a_commit_whose_pack_is_missing_is_refused(desk: Desk) -> None:
    _, request = await desk.save(1)
    store = await desk.store()
    packs = [stat.key async for stat in store.list(f"{desk.prefix()}packs/")]
    assert packs
    await store.delete(packs)
    with pytest.raises(CheckpointError):
        await desk.custody.verify(await desk.state(), 1, request)


async def test_head_follows_the_log_and_never_goes_back(desk: Desk) -> None:
    await desk.commit(1)
    old = await desk.state()
    newest = await desk.commit(2)
    await desk.custody._mirror(await desk.state())
    assert (await desk.head()).manifest == newest.manifest
    await desk.custody._mirror(old)
    assert (await desk.head()).manifest == newest.manifest


async def test_a_damaged_head_does_not_keep_the_next_checkpoint_out(desk: Desk) -> None:
    first = await desk.commit(1)
    store = await desk.store()
    await store.put(first.key, b"{}")
    desk.custody._manifests.clear()
    _, second = await desk.save(2)
    await desk.custody.verify(await desk.state(), 1, second)


async def test_what_no_kept_checkpoint_names_is_swept_after_a_day_and_not_before(
    desk: Desk,
) -> None:
    commits = [await desk.commit(seq) for seq in (1, 2, 3, 4)]
    store = await desk.store()
    await desk.custody._sweep_all()
    for commit in commits:
        await store.head(commit.key)
    desk.later_s = DAY_S + SWEEP_EVERY_S
    await desk.custody._sweep_all()
    for commit in commits[:2]:
        with pytest.raises(StoreMissingError):
            await store.head(commit.key)
    for commit in commits[2:]:
        await store.head(commit.key)
        manifest = await desk.custody._read(store, next(
            c for c in (await desk.state()).checkpoints if c.manifest == commit.manifest
        ))  # fmt: skip
        for pack in manifest.packs:
            await store.head(pack.key)
