"""The broker's own look into the bucket: verify a commit, mirror the newest one, sweep what is not kept.

The key comes from the vault, for minutes, and is renewed at half of its life.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping

import anyio
import msgspec
from nacl.public import PrivateKey

from vaultlayer import messages as ms
from vaultlayer import subjects
from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.restore import fetch_manifest
from vaultlayer.checkpoint.retention import Aged, kept, sweepable
from vaultlayer.checkpoint.verify import verify
from vaultlayer.errors import (
    CheckpointError,
    StoreConflictError,
    StoreMissingError,
    VaultLayerError,
)
from vaultlayer.ids import Attempt, Incarnation, JobId, job_prefix, prefix_of
from vaultlayer.job import CheckpointState, Job
from vaultlayer.sealing import public_of, unseal
from vaultlayer.store.protocol import Store
from vaultlayer.store.s3 import S3Store, open_store
from vaultlayer_actors.context import ActorContext

MANIFESTS_MAX = 512
SWEEP_EVERY_S = 900.0


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """`jobs/<job>/HEAD`: with it a bucket alone suffices to go on after the broker is lost."""

    job: str
    attempt: int
    incarnation: str
    seq: int
    manifest: str
    key: str
    step: int | None = None


class Custody:
    """Reads and tidies the bucket on behalf of the dispatcher."""

    def __init__(self, context: ActorContext) -> None:
        self._context = context
        self._store: S3Store | None = None
        self._renew_at_s = 0.0
        self._root = ""
        self._lock = anyio.Lock()
        self._manifests: OrderedDict[str, Manifest] = OrderedDict()
        self._to_mirror: dict[str, Job] = {}
        self._mirrored: dict[str, str] = {}
        self._wake = anyio.Event()
        self._sweep_at_s = context.mono_s() + SWEEP_EVERY_S

    async def verify(self, job: Job, number: int, request: ms.CommitRequest) -> None:
        """Check that everything a commit names is in the bucket, and was written by its own attempt.

        Raises:
            CheckpointError: it is not so; the attempt must make a new checkpoint.
        """
        store = await self._open()
        attempt = job.attempts[number]
        name = JobId(job.job)
        prefix = prefix_of(self._root, name, Attempt(number), Incarnation(attempt.incarnation))
        if not request.key.startswith(prefix):
            raise CheckpointError(
                f"checkpoint {request.manifest[:12]} does not lie below the attempt's own prefix"
            )
        manifest = await verify(
            store,
            request.key,
            request.manifest,
            await self._known_packs(store, job),
            prefix=prefix,
            seq=request.seq,
        )
        self._keep(request.manifest, manifest)

    def see(self, job: Job) -> None:
        """Take note of a job whose newest checkpoint may have to be mirrored."""
        head = job.head
        if head is not None and self._mirrored.get(job.job) != head.manifest:
            self._to_mirror[job.job] = job
            self._wake.set()
        if job.closed:
            self._mirrored.pop(job.job, None)

    async def run(self) -> None:
        """Mirror and sweep until cancelled; a bucket that is away is tried again."""
        while True:
            with anyio.move_on_after(SWEEP_EVERY_S if not self._to_mirror else 1.0):
                await self._wake.wait()
            self._wake = anyio.Event()
            for name, job in list(self._to_mirror.items()):
                if await self._try("head_not_mirrored", self._mirror, job):
                    self._to_mirror.pop(name, None)
            if self._context.mono_s() >= self._sweep_at_s:
                self._sweep_at_s = self._context.mono_s() + SWEEP_EVERY_S
                await self._sweep_all()

    async def _try(self, complaint: str, act: Callable[[Job], Awaitable[None]], job: Job) -> bool:
        try:
            await act(job)
        except VaultLayerError as error:
            self._context.logger.warning(complaint, job=job.job, code=error.code, why=error.what)
            return False
        return True

    async def _open(self) -> S3Store:
        """Give the store with a key that is good for a while."""
        async with self._lock:
            if self._store is None or self._context.mono_s() >= self._renew_at_s:
                credential = await self._ask()
                self._root = credential.root
                self._renew_at_s = self._context.mono_s() + credential.expires_in_s / 2
                if self._store is None:
                    self._store = open_store(credential)
                else:
                    self._store.refresh(credential)
            return self._store

    async def _ask(self) -> ms.StoreCredential:
        key = bytes(PrivateKey.generate())
        request = ms.BrokerStoreRequest(seal_key=public_of(key), write=True)
        sealed = await self._context.bus.request(
            subjects.vault("broker_store"), request, ms.Sealed, timeout_s=5.0
        )
        return msgspec.json.decode(unseal(key, sealed.box), type=ms.StoreCredential)

    async def _known_packs(self, store: Store, job: Job) -> Mapping[str, int]:
        """Give the packs of the newest commit with their sizes: they were verified when it was."""
        head = job.head
        if head is None:
            return {}
        try:
            return (await self._read(store, head)).pack_sizes
        except CheckpointError as error:
            # A damaged head must not keep newer checkpoints out: every pack is then looked at anew.
            self._context.logger.warning("head_is_damaged", job=job.job, why=error.what)
            return {}

    async def _read(self, store: Store, checkpoint: CheckpointState) -> Manifest:
        known = self._manifests.get(checkpoint.manifest)
        if known is not None:
            return known
        manifest = await fetch_manifest(store, checkpoint.key, checkpoint.manifest)
        self._keep(checkpoint.manifest, manifest)
        return manifest

    def _keep(self, name: str, manifest: Manifest) -> None:
        self._manifests[name] = manifest
        self._manifests.move_to_end(name)
        while len(self._manifests) > MANIFESTS_MAX:
            self._manifests.popitem(last=False)

    async def _mirror(self, job: Job) -> None:
        """Write HEAD unless the bucket knows a newer one: then this log has gone back in time."""
        checkpoint = job.head
        if checkpoint is None:
            return
        store = await self._open()
        key = job_prefix(self._root, JobId(job.job)) + "HEAD"
        head = Head(
            job=job.job,
            attempt=checkpoint.attempt,
            incarnation=job.attempts[checkpoint.attempt].incarnation,
            seq=checkpoint.seq,
            manifest=checkpoint.manifest,
            key=checkpoint.key,
            step=checkpoint.step,
        )
        try:
            blob = await store.get(key)
        except StoreMissingError:
            await self._put_head(store, key, head, etag="")
            return
        there = msgspec.json.decode(blob.data, type=Head)
        rejected = {c.manifest for c in job.checkpoints if c.rejected}
        if (there.attempt, there.seq) > (head.attempt, head.seq) and there.manifest not in rejected:
            self._context.logger.error(
                "head_is_newer_than_log", job=job.job, manifest=there.manifest
            )
            return
        if there != head:
            await self._put_head(store, key, head, etag=blob.etag)
        self._mirrored[job.job] = head.manifest

    async def _put_head(self, store: Store, key: str, head: Head, *, etag: str) -> None:
        try:
            await store.put(key, msgspec.json.encode(head), only_if_absent=not etag, if_match=etag)
        except StoreConflictError:
            # Another dispatcher was faster; the next look compares again.
            return
        self._mirrored[head.job] = head.manifest

    async def _sweep_all(self) -> None:
        for name in await self._context.ledger.all_jobs():
            job = await self._context.ledger.read(name)
            if job is not None:
                await self._try("sweep_failed", self._sweep, job)

    async def _sweep(self, job: Job) -> None:
        """Delete what no kept manifest names; a checkpoint that is not kept stays in the log only."""
        rules = self._context.settings.run
        chain = [c for c in job.checkpoints if not c.rejected]
        keep = kept(
            [c.manifest for c in chain], keep_last=rules.keep_last, keep_every=rules.keep_every
        )
        if len(keep) == len(chain):
            return
        store = await self._open()
        live = {
            c.manifest: (await self._read(store, c)).pack_sizes for c in chain if c.manifest in keep
        }
        prefix = job_prefix(self._root, JobId(job.job))
        found = [Aged(stat.key, stat.modified_s) async for stat in store.list(prefix)]
        doomed = sweepable(live, keep, found, self._context.now_s())
        if doomed:
            await store.delete(doomed)
            self._context.logger.info("objects_swept", job=job.job, objects=len(doomed))
