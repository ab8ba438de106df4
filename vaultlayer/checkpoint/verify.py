"""The broker's look at a checkpoint before it is committed: is all of it there, and whose is it?"""

import re
from collections.abc import Mapping

from vaultlayer.checkpoint.manifest import Manifest, manifest_key
from vaultlayer.checkpoint.parallel import task_group
from vaultlayer.checkpoint.restore import fetch_manifest
from vaultlayer.errors import CheckpointError, StoreMissingError
from vaultlayer.store.faults import is_bucket_missing
from vaultlayer.store.protocol import Store

LOOKS = 16
_OWNER = re.compile(
    r"(?P<job>(?:[^/]+/)*jobs/(j[2-9a-z]{9})/)(?:code|a([1-9][0-9]*)-([a-z0-9]+))/\Z"
)


async def verify(
    store: Store,
    key: str,
    manifest_id: str,
    known_packs: Mapping[str, int] | None = None,
    *,
    prefix: str = "",
    seq: int | None = None,
) -> Manifest:
    """Check that a checkpoint is whole and belongs where it lies; gives its manifest.

    A pack that is not known must exist with the right size: the store checked its content when it took it,
    and every piece is checked again at restore.

    Args:
        store: may read below `jobs/<job>/`.
        key: where the agent says its manifest lies.
        manifest_id: its digest.
        known_packs: size by key of packs that committed checkpoints of this job name (`Manifest.pack_sizes`);
            they are not looked at again.
        prefix: the attempt's own prefix by the log (`ids.prefix_of`); without it, it is taken from `key`,
            and the caller has to know that the key is the attempt's.
        seq: the checkpoint's number that is being committed; None: not checked.

    Raises:
        CheckpointError: it is damaged, incomplete, or of another job, attempt or number.
        StoreError: the bucket refuses or does not answer: nothing is known, ask again.
    """
    own = prefix or key.removesuffix(f"manifests/{manifest_id}.json")
    owner = _OWNER.match(own)
    if not owner or key != manifest_key(own, manifest_id):
        raise CheckpointError(f"{key} is not where a manifest belongs")
    manifest = await fetch_manifest(store, key, manifest_id)
    claimed = (manifest.job, manifest.attempt, manifest.incarnation)
    if claimed != (owner[2], int(owner[3] or 0), owner[4] or ""):
        raise CheckpointError(f"{key} is of another attempt", why=f"it says it is of {claimed}")
    if seq is not None and manifest.seq != seq:
        raise CheckpointError(
            f"{key} is another checkpoint", why=f"it is number {manifest.seq}, not {seq}"
        )
    await _look_at_packs(store, manifest, owner["job"], known_packs or {})
    return manifest


async def _look_at_packs(
    store: Store, manifest: Manifest, job_prefix: str, known: Mapping[str, int]
) -> None:
    unknown: list[tuple[str, int]] = []
    for pack in manifest.packs:
        if not pack.key.startswith(job_prefix):
            raise CheckpointError(f"{pack.key} does not lie below {job_prefix}")
        size_b = known.get(pack.key)
        if size_b is None:
            unknown.append((pack.key, pack.size_b))
        elif size_b != pack.size_b:
            raise CheckpointError(f"{pack.key} is {size_b} bytes long, not {pack.size_b}")
    queue = iter(unknown)

    async def work() -> None:
        for key, size_b in queue:
            await _look(store, key, size_b)

    async with task_group() as group:
        for _ in range(min(LOOKS, len(unknown))):
            group.start_soon(work)


async def _look(store: Store, key: str, size_b: int) -> None:
    try:
        found = await store.head(key)
    except StoreMissingError as error:
        if is_bucket_missing(error):
            raise
        raise CheckpointError(f"{key} is missing", why="the manifest names it") from error
    if found.size_b != size_b:
        raise CheckpointError(f"{key} is {found.size_b} bytes long, not {size_b}")
