"""Which checkpoints are kept, and which objects may be deleted. Pure."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import msgspec

GRACE_S = 24 * 3600.0
"""An object younger than this is never swept: it may belong to a checkpoint that is being uploaded."""


class Aged(msgspec.Struct, frozen=True):
    """An object as the bucket lists it."""

    key: str
    modified_s: float


def kept(
    checkpoints: Sequence[str], *, keep_last: int, keep_every: int, pinned: Collection[str] = ()
) -> set[str]:
    """Give the ids of the checkpoints to keep.

    Args:
        checkpoints: ids of committed, not rejected checkpoints, oldest first.
        keep_last: so many of the newest; at least two, for the newest one's parent is the way back.
        keep_every: also the first and each so-many-th; 0: none.
        pinned: kept whatever their age.
    """
    newest = set(checkpoints[-max(2, keep_last) :])
    every = set(checkpoints[::keep_every]) if keep_every > 0 else set[str]()
    return newest | every | (set(pinned) & set(checkpoints))


def sweepable(
    manifests: Mapping[str, Iterable[str]],
    keep: Collection[str],
    objects: Iterable[Aged],
    now_s: float,
    grace_s: float = GRACE_S,
) -> list[str]:
    """Give the keys that may be deleted, packs and manifests of checkpoints that nobody needs.

    Only objects in a `packs/` or `manifests/` directory are ever named; code, logs and HEAD are not.

    Args:
        manifests: for each committed checkpoint's id the keys of its packs. One to be kept that is not
            in here makes the answer empty: what it needs is not known.
        keep: the ids of live checkpoints.
        objects: what lies below `jobs/<job>/`.
        now_s: the store's wall clock.
        grace_s: younger objects are left alone.
    """
    if not set(keep) <= set(manifests):
        return []
    live = {pack for identity in keep for pack in manifests[identity]}
    return [
        found.key
        for found in objects
        if now_s - found.modified_s >= grace_s and _is_dead(found.key, live, keep)
    ]


def _is_dead(key: str, live: Collection[str], keep: Collection[str]) -> bool:
    parts = key.split("/")
    if len(parts) < 4 or parts[-3] == "code":
        return False
    if parts[-2] == "packs":
        return key not in live
    return parts[-2] == "manifests" and parts[-1].removesuffix(".json") not in keep
