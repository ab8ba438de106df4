"""Brings code and checkpoint to this machine and puts them where the script expects them.

What the log committed is restored bit for bit, or it is said that it cannot be: a damaged checkpoint is
rejected, loudly, and the next one named by the broker is tried.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from vaultlayer.checkpoint.cache import FileCache
from vaultlayer.checkpoint.manifest import Manifest, manifest_key
from vaultlayer.checkpoint.restore import fetch_manifest, prefetch, restore
from vaultlayer.checkpoint.source import KnownFiles
from vaultlayer.errors import CheckpointError, StoreDeniedError, StoreUnreachableError
from vaultlayer.logging import get_logger
from vaultlayer.messages import CheckpointRef, RejectReply, RejectReport
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.layout import Layout
from vaultlayer_agent.link import Link
from vaultlayer_agent.waiting import Backoff

T = TypeVar("T")

DAMAGE_TRIES = 3
"""How often a checkpoint must be found damaged or missing before it is rejected for ever."""

DAMAGE_PAUSE_S = 1.0


class Restored(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in place now; no `ref`: the job starts from zero."""

    ref: CheckpointRef | None = None
    manifest: Manifest | None = None


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

    async def place_checkpoint(self, head: CheckpointRef | None) -> Restored:
        """Put the newest whole checkpoint into place, going back along the chain over damaged ones."""
        while head is not None:
            try:
                manifest = await self._whole(head)
            except CheckpointError as error:
                head = await self._reject(head, error)
            else:
                return Restored(ref=head, manifest=manifest)
        return Restored()

    async def _whole(self, head: CheckpointRef) -> Manifest:
        """Restore, and believe in damage only when it is found again and again, without the cache."""
        for tries in range(1, DAMAGE_TRIES + 1):
            try:
                manifest = await self._manifest(head.key, head.manifest)
                await self._restore(manifest, self._caches.get("checkpoint"))
            except CheckpointError as error:
                get_logger().warning("restore_damaged", manifest=head.manifest, why=str(error))
                if tries == DAMAGE_TRIES:
                    raise
                self._caches.pop("checkpoint", None)
                await anyio.sleep(DAMAGE_PAUSE_S)
            else:
                return manifest
        raise AssertionError

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

    async def _restore(self, manifest: Manifest, cache: FileCache | None) -> None:
        places: dict[str, Path] = self._layout.places
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


def _name(ref: CheckpointRef) -> str:
    step = "" if ref.step is None else f" of step {ref.step}"
    return f"checkpoint {ref.manifest[:12]}{step}"
