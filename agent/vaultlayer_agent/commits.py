"""Makes checkpoints of cuts, one after another: upload, then commit until answered.

Only an answered commit makes a checkpoint exist. While the broker is away uploads go on, and a newer cut
takes the place of one that could not be committed.
"""

from collections.abc import Callable
from typing import Protocol

import anyio
import msgspec

from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.source import KnownFiles
from vaultlayer.checkpoint.upload import Uploaded, upload
from vaultlayer.errors import (
    BrokerError,
    CheckpointError,
    SourceChangedError,
    StoreDeniedError,
    StoreError,
    VaultLayerError,
)
from vaultlayer.logging import get_logger
from vaultlayer.messages import CheckpointRef, CommitRequest, Done
from vaultlayer_agent.bucket import Bucket
from vaultlayer_agent.capture import Cut
from vaultlayer_agent.capture.snapshots import FRAMEWORK
from vaultlayer_agent.link import COMMIT_TIMEOUT_S, Link
from vaultlayer_agent.waiting import Backoff
from vaultlayer_agent.way import spell_ref

RATED_LEAST_B = 4_000_000
"""A smaller upload's time is that of its requests, and says nothing of the rate."""

PASSED_OVER_TRIES = 2
"""After so many unanswered tries a newer cut is preferred."""


class Committed(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the newest checkpoint of this attempt."""

    seq: int
    step: int | None
    size_b: int
    new_b: int
    framework: str = ""
    manifest: str = ""
    key: str = ""
    upload_s: float = 0.0
    """How long the upload took that succeeded."""

    @property
    def ref(self) -> CheckpointRef:
        """Where it lies."""
        return CheckpointRef(manifest=self.manifest, key=self.key, step=self.step)


class CutSource(Protocol):
    """What the committer needs of a capture."""

    def release(self, cut: Cut) -> None:
        """Drop what was staged for a cut."""
        ...


class CutBox:
    """Room for one cut: a newer one displaces it."""

    def __init__(self, source: CutSource) -> None:
        self._source = source
        self._cut: Cut | None = None
        self._news = anyio.Event()
        self._is_closed = False

    @property
    def has_news(self) -> bool:
        """Whether a newer cut waits, or none will come any more."""
        return self._cut is not None or self._is_closed

    def put(self, cut: Cut) -> None:
        """Leave a cut; one that still lies there is released."""
        self._drop()
        if self._is_closed:
            self._source.release(cut)
            return
        self._cut = cut
        self._news.set()

    def close(self) -> None:
        """Take no more cuts, and drop the one that lies there."""
        self._drop()
        self._is_closed = True
        self._news.set()

    async def take(self) -> Cut | None:
        """Wait for a cut and take it out; None once the box is closed."""
        while not self.has_news:
            await self._news.wait()
        cut, self._cut = self._cut, None
        self._news = anyio.Event()
        return cut

    def _drop(self) -> None:
        if self._cut is not None:
            self._source.release(self._cut)
            self._cut = None


class Committer:
    """Uploads and commits for one attempt.

    Args:
        link: to the broker.
        bucket: where it is uploaded to.
        source: whose cuts they are.
        job: the job.
        attempt: the attempt.
        parent: the checkpoint that was restored.
        known: files that need not be read again.
        meta: what every checkpoint of this attempt carries.
        may_commit: whether the lease is held now.
        committed: told of each new checkpoint.
        say: speaks in the job's output.
        after_seq: the newest number that this attempt has used before.
    """

    def __init__(
        self,
        *,
        link: Link,
        bucket: Bucket,
        source: CutSource,
        job: str,
        attempt: int,
        parent: Manifest | None,
        known: KnownFiles,
        meta: dict[str, str],
        may_commit: Callable[[], bool],
        committed: Callable[[Committed], None],
        say: Callable[[str], None],
        after_seq: int = 0,
    ) -> None:
        self._link = link
        self._bucket = bucket
        self._source = source
        self._job = job
        self._attempt = attempt
        self._parent = parent
        self._known = known
        self._meta = meta
        self._may_commit = may_commit
        self._committed = committed
        self._say = say
        self.seq = after_seq
        """Of the newest cut that was taken in hand."""
        self.ghost: CheckpointRef | None = None
        """The newest ghost checkpoint that holds; those after it tell where it lies."""
        self.uplink_b_s = 0.0
        """The best rate that an upload of some size has reached, 0 before the first."""
        self._over = anyio.Event()
        self.box = CutBox(source)

    async def run(self) -> None:
        """Make checkpoints of what comes into the box, until it is closed."""
        while (cut := await self.box.take()) is not None:
            try:
                await self.save(cut)
            finally:
                self._source.release(cut)
        self._over.set()

    async def close(self) -> None:
        """Take no more cuts, and wait until the one in hand is saved or passed over."""
        self.box.close()
        await self._over.wait()

    async def save(self, cut: Cut) -> bool:
        """Upload and commit one cut; False when it was passed over or refused."""
        try:
            uploaded = await self.upload(cut)
            if uploaded is None or self._is_old_news(cut, uploaded):
                return False
            return await self._commit(cut, uploaded)
        except SourceChangedError as error:
            get_logger().info("checkpoint_void", seq=self.seq, why=error.what)
        except VaultLayerError as error:
            get_logger().warning(
                "checkpoint_refused", seq=self.seq, code=error.code, why=error.what
            )
            self._say(f"a checkpoint could not be saved: {error.what} ({error.code})")
        return False

    async def upload(self, cut: Cut) -> Uploaded | None:
        """Upload until the bucket has everything; None when a newer cut came meanwhile."""
        self.seq += 1
        seq = self.seq
        backoff = Backoff()
        while True:
            try:
                return await upload(
                    self._bucket.store,
                    cut.files,
                    prefix=self._bucket.own_prefix,
                    job=self._job,
                    attempt=self._attempt,
                    incarnation=self._link.incarnation,
                    seq=seq,
                    parent=self._parent,
                    step=cut.step,
                    meta=self._meta_of(cut),
                    known=self._known,
                )
            except StoreDeniedError as error:
                await self._bucket.after_refusal(error)
            except StoreError as error:
                get_logger().warning("upload_failed", seq=seq, code=error.code)
                if backoff.tries == 0:
                    self._say(f"the bucket does not take a checkpoint yet: {error.what}")
            if self._is_passed_over(cut, backoff):
                return None
            await backoff.wait()

    def _meta_of(self, cut: Cut) -> dict[str, str]:
        before = spell_ref(self.ghost) if self.ghost is not None else {}
        return {"framework": cut.framework, **cut.meta, **before, **self._meta}

    async def _commit(self, cut: Cut, uploaded: Uploaded) -> bool:
        seq = uploaded.content.seq
        request = CommitRequest(
            cmd_id=self._link.cmd_id("ckpt", seq),
            incarnation=self._link.incarnation,
            seq=seq,
            manifest=uploaded.manifest,
            key=uploaded.key,
            parent=uploaded.content.parent,
            step=cut.step,
            size_b=uploaded.size_b,
            new_b=uploaded.new_b,
            files=uploaded.files,
            final=cut.final,
        )
        backoff = Backoff()
        while True:
            if self._may_commit():
                try:
                    await self._link.ask_once("ckpt", request, Done, timeout_s=COMMIT_TIMEOUT_S)
                except BrokerError as error:
                    get_logger().info("commit_unanswered", seq=seq, code=error.code)
                except CheckpointError:
                    # The broker does not find in the bucket what we put there: build on nothing of it.
                    self._parent = None
                    raise
                except VaultLayerError as error:
                    if not error.retryable:
                        raise
                    get_logger().info("commit_put_off", seq=seq, code=error.code)
                else:
                    self._has_committed(cut, uploaded)
                    return True
            if self._is_passed_over(cut, backoff):
                return False
            await backoff.wait()

    def _has_committed(self, cut: Cut, uploaded: Uploaded) -> None:
        self._parent = uploaded.content
        if uploaded.new_b >= RATED_LEAST_B:
            rate = uploaded.new_b / max(uploaded.seconds, 0.001)
            self.uplink_b_s = max(self.uplink_b_s, rate)
        committed = Committed(
            seq=uploaded.content.seq,
            step=cut.step,
            size_b=uploaded.size_b,
            new_b=uploaded.new_b,
            framework=cut.framework,
            manifest=uploaded.manifest,
            key=uploaded.key,
            upload_s=uploaded.seconds,
        )
        if cut.framework == FRAMEWORK:
            self.ghost = committed.ref
        self._committed(committed)

    def _is_old_news(self, cut: Cut, uploaded: Uploaded) -> bool:
        """Nothing changed since the newest checkpoint, as after a restore: only the end says it again."""
        same = self._parent is not None and uploaded.content.outline == self._parent.outline
        return same and not cut.final

    def _is_passed_over(self, cut: Cut, backoff: Backoff) -> bool:
        return not cut.final and self.box.has_news and backoff.tries >= PASSED_OVER_TRIES
