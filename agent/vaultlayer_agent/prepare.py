"""Brings code and checkpoint to this machine and puts them where the script expects them.

What the log committed is restored bit for bit, or it is said that it cannot be: a damaged checkpoint is
rejected, loudly, and the next one named by the broker is tried.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.manifest import Manifest, manifest_key
from vaultlayer.checkpoint.names import unspell
from vaultlayer.checkpoint.restore import fetch_manifest, prefetch, restore
from vaultlayer.checkpoint.source import KnownFiles
from vaultlayer.errors import CheckpointError, StoreDeniedError, StoreUnreachableError
from vaultlayer.logging import get_logger
from vaultlayer.messages import CheckpointRef, RejectReply, RejectReport
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.capture.snapshots import BASE, ROOT
from vaultlayer_agent.layout import Layout, copy_below, copy_entry
from vaultlayer_agent.link import Link
from vaultlayer_agent.waiting import Backoff
from vaultlayer_agent.way import Choice, Kind, Way, choose_way, number_in

T = TypeVar("T")

DAMAGE_TRIES = 3
"""How often a checkpoint must be found damaged or missing before it is rejected for ever."""

DAMAGE_PAUSE_S = 1.0
SAVED = (".pt", ".pth", ".ckpt", ".bin", ".safetensors", ".keras", ".h5", ".distcp", ".metadata")


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in place now; no `ref`: the job starts from zero.

    `manifest` is that of `head`, the newest checkpoint; `source` that of the one which the way goes on from.
    """

    way: Way = Way()
    head: CheckpointRef | None = None
    manifest: Manifest | None = None
    source: Manifest | None = None

    @property
    def ref(self) -> CheckpointRef | None:
        """The checkpoint that the script goes on from."""
        return self.way.source

    @property
    def step(self) -> int | None:
        """Its step."""
        return self.source.step if self.source is not None else None


class Preparation:
    """Fetches for one attempt."""

    def __init__(
        self, *, link: Link, bucket: Bucket, layout: Layout, say: Callable[[str], None]
    ) -> None:
        self._link = link
        self._bucket = bucket
        self._layout = layout
        self._say = say
        self._code: Manifest | None = None
        self._caches: dict[str, FileCache] = {}
        self.known = KnownFiles()
        """What was restored, so that the first upload need not read it again."""

    async def prefetch(self, code: str, head: CheckpointRef | None) -> str:
        """Bring the code's and a checkpoint's bytes into the cache; give the checkpoint's id if all came.

        What is damaged is left for `place` to find again: a standby rejects nothing, for it may be this
        machine that is broken, and the active attempt goes on meanwhile.
        """
        try:
            if code:
                await self._into_cache("code", await self.code(code))
            if head is not None:
                manifest = await self._manifest(head.key, head.manifest)
                await self._into_cache("checkpoint", manifest)
                return head.manifest
        except CheckpointError as error:
            get_logger().warning("prefetch_damaged", code=error.code, why=error.what)
        return ""

    async def code(self, identity: str) -> Manifest:
        """Give the manifest of the job's code."""
        if self._code is None:
            key = manifest_key(f"{self._bucket.job_prefix}code/", identity)
            self._code = await self._manifest(key, identity)
        return self._code

    async def place_code(self, identity: str) -> Manifest | None:
        """Put the job's code into the working directory; None for a job without any."""
        if not identity:
            return None
        manifest = await self.code(identity)
        places = {"work": self._layout.work}
        await self._reached(
            lambda: restore(
                self._bucket.store, manifest, places, cache=self._caches.get("code"), sync=False
            )
        )
        return manifest

    async def place_checkpoint(self, head: CheckpointRef | None, choice: Choice) -> Restored:
        """Put the newest whole checkpoint into place, going back along the chain over damaged ones."""
        while head is not None:
            try:
                manifest = await self._undamaged(head, lambda ref=head: self._read(ref))
                way = choose_way(head, manifest.meta, choice)
                if way.source == head:
                    return await self.place_way(way, head, manifest)
            except CheckpointError as error:
                head = await self._reject(head, error)
            else:
                return await self._place_before(way, head, manifest, choice)
        return Restored()

    async def _place_before(
        self, way: Way, head: CheckpointRef, manifest: Manifest, choice: Choice
    ) -> Restored:
        """Put the ghost checkpoint before the newest one into place; if it is gone, the newest itself."""
        try:
            return await self.place_way(way, head, manifest)
        except CheckpointError as error:
            self._say(f"NO REPLAY: the ghost's last checkpoint cannot be restored: {error.what}")
            without = msgspec.structs.replace(choice, ghost=False)
            return await self.place_way(choose_way(head, manifest.meta, without), head, manifest)

    async def place_way(
        self, way: Way, head: CheckpointRef | None, manifest: Manifest | None
    ) -> Restored:
        """Put the files of one way into place; what a replay will need as well.

        Raises:
            CheckpointError: what it goes on from is gone or damaged.
        """
        if way.source is None:
            return Restored(way=way, head=head, manifest=manifest)
        source = await self._undamaged(way.source, lambda ref=way.source: self._put(way, ref))
        if way.kind is Kind.REPLAY:
            number = way.number or number_in(source.meta)
            way = msgspec.structs.replace(way, number=number)
        return Restored(way=way, head=head, manifest=manifest, source=source)

    async def _undamaged(
        self, ref: CheckpointRef, act: Callable[[], Awaitable[Manifest]]
    ) -> Manifest:
        """Act, and believe in damage only when it is found again and again, without the cache."""
        for tries in range(1, DAMAGE_TRIES + 1):
            try:
                return await act()
            except CheckpointError as error:
                get_logger().warning("restore_damaged", manifest=ref.manifest, why=str(error))
                if tries == DAMAGE_TRIES:
                    raise
                self._caches.pop("checkpoint", None)
                await anyio.sleep(DAMAGE_PAUSE_S)
        raise AssertionError

    async def _read(self, ref: CheckpointRef) -> Manifest:
        return await self._manifest(ref.key, ref.manifest)

    async def _put(self, way: Way, ref: CheckpointRef) -> Manifest:
        manifest = await self._read(ref)
        layout, cache = self._layout, self._caches.get("checkpoint")
        if way.kind is Kind.REPLAY:
            ours = {"work": layout.image, ROOT: layout.ghost, BASE: layout.base}
            # A script that has written nothing has an empty image, which no file would make.
            layout.image.mkdir(parents=True, exist_ok=True)
            await self._restore(manifest, {**layout.places, **ours}, cache)
            await anyio.to_thread.run_sync(copy_below, layout.base, layout.work)
        else:
            await self._restore(without_ghost(manifest), layout.places, cache)
            if way.records:
                await anyio.to_thread.run_sync(self._keep_base, manifest)
        return manifest

    def _keep_base(self, manifest: Manifest) -> None:
        """Keep a copy of what lies beside the code, for a replay of this launch begins with it."""
        for entry in manifest.files:
            if entry.root == "work":
                copy_entry(self._layout.work, self._layout.base, unspell(entry.name))

    async def _reject(self, head: CheckpointRef, error: CheckpointError) -> CheckpointRef | None:
        name = _name(head)
        self._say(f"CHECKPOINT DAMAGED: {name} cannot be restored: {error.what}. {error.why}")
        report = RejectReport(
            cmd_id=f"{self._link.cmd_id('reject')}-{head.manifest[:16]}",
            incarnation=self._link.incarnation,
            manifest=head.manifest,
            reason=f"{error.what}: {error.why}" if error.why else error.what,
        )
        reply = await self._link.ask("reject", report, RejectReply)
        if reply.head is not None and reply.head.manifest == head.manifest:
            raise error
        after = f"going back to {_name(reply.head)}" if reply.head else "starting from zero"
        self._say(f"{name} is out of the chain; {after}")
        return reply.head

    async def _manifest(self, key: str, identity: str) -> Manifest:
        return await self._reached(lambda: fetch_manifest(self._bucket.store, key, identity))

    async def _into_cache(self, name: str, manifest: Manifest) -> None:
        cache = self._caches.setdefault(name, FileCache(self._layout.cache / name))
        await self._reached(lambda: prefetch(self._bucket.store, manifest, cache))

    async def _restore(
        self, manifest: Manifest, places: dict[str, Path], cache: FileCache | None
    ) -> None:
        await self._reached(
            lambda: restore(self._bucket.store, manifest, places, cache=cache, known=self.known)
        )

    async def _reached(self, call: Callable[[], Awaitable[T]]) -> T:
        """Call until the bucket answers; refused keys are renewed first."""
        backoff = Backoff()
        while True:
            try:
                return await call()
            except StoreDeniedError as error:
                if backoff.tries >= DAMAGE_TRIES:
                    raise
                await self._bucket.after_refusal(error)
            except StoreUnreachableError as error:
                if backoff.tries == 0:
                    self._say(f"the bucket does not answer yet: {error.what}")
            await backoff.wait()


def holds_checkpoint(manifest: Manifest) -> bool:
    """Whether a checkpoint holds one of the script's own, by the names that frameworks give."""
    names = [unspell(entry.name) for entry in manifest.files if entry.root not in {ROOT, BASE}]
    return any(name.endswith(SAVED) for name in names)


def fallen_tier(restored: Restored) -> tuple[str, str]:
    """Give tier and meaning of the way that follows a replay that diverged."""
    step = "" if restored.step is None else f" of step {restored.step}"
    match restored.way.kind:
        case Kind.REPLAY:
            return "B", f"going back to the snapshot before it{step}"
        case Kind.NATIVE:
            return "C", (
                f"no exact resume any more; the script finds its own files{step}, "
                "and starts from zero unless it loads them"
            )
        case Kind.ZERO:
            return "E", "the script starts again from zero, and is recorded anew"


def without_ghost(manifest: Manifest) -> Manifest:
    """Give a checkpoint without what only a replay needs."""
    files = tuple(entry for entry in manifest.files if entry.root not in {ROOT, BASE})
    return msgspec.structs.replace(manifest, files=files)


def _name(ref: CheckpointRef) -> str:
    step = "" if ref.step is None else f" of step {ref.step}"
    return f"checkpoint {ref.manifest[:12]}{step}"
