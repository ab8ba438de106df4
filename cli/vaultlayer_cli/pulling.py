"""Fetching a checkpoint to this machine: which one, and where its files go."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from vaultlayer.bus.protocol import Bus
from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.restore import Restored, fetch_manifest, restore
from vaultlayer.errors import CheckpointError, DiskError, InputError
from vaultlayer.ids import JobId
from vaultlayer.job import CheckpointState, Job
from vaultlayer.store.s3 import open_store
from vaultlayer_cli.submit import borrow_reading

WORK = "work"
INTERNAL = frozenset({"ghost", "base"})
"""Roots of the agent's own; they stay in the bucket, below the same checkpoint's manifest."""


def choose(job: Job, wanted: str) -> CheckpointState:
    """Choose a checkpoint: the newest good one, or the one that begins with `wanted`.

    Raises:
        CheckpointError: there is none, or the one that is meant was found damaged.
        InputError: none begins like that, or several do.
    """
    if not wanted:
        if job.head is None:
            raise CheckpointError(
                f"job {job.job} has no checkpoint yet", mend=f"vaultlayer watch {job.job}"
            )
        return job.head
    found = [one for one in job.checkpoints if one.manifest.startswith(wanted)]
    if len(found) != 1:
        how_many = "no checkpoint begins" if not found else f"{len(found)} checkpoints begin"
        raise InputError(f"{how_many} with {wanted!r}", mend=f"vaultlayer checkpoints {job.job}")
    if found[0].rejected:
        raise CheckpointError(f"checkpoint {wanted} is damaged", why=found[0].rejected)
    return found[0]


def check_destination(destination: Path, *, force: bool) -> None:
    """Refuse a directory in which something would be overwritten unasked.

    Raises:
        DiskError: it is a file, or holds something.
    """
    if destination.exists() and not destination.is_dir():
        raise DiskError(f"{destination} is a file", mend="name a directory")
    if not force and destination.is_dir() and any(destination.iterdir()):
        raise DiskError(
            f"{destination} is not empty",
            why="files in it could be overwritten",
            mend="name another directory, or add --force",
        )


def places_for(destination: Path, roots: Sequence[str], outputs: Sequence[str]) -> dict[str, Path]:
    """Give a directory for each root: the working directory itself, and outputs outside it by name."""
    places: dict[str, Path] = {}
    for root in sorted(roots, key=lambda name: name != WORK):
        if root == WORK:
            places[root] = destination
            continue
        number = root.removeprefix("out")
        known = number.isdigit() and int(number) < len(outputs)
        name = Path(outputs[int(number)]).name if known else root
        place = destination / (name or root)
        places[root] = destination / f"{name}-{root}" if place in places.values() else place
    return places


def outputs_of(manifest: Manifest) -> Manifest:
    """Give a checkpoint without what only an exact resume reads: log, snapshot and launch-time files."""
    files = tuple(entry for entry in manifest.files if entry.root not in INTERNAL)
    return msgspec.structs.replace(manifest, files=files)


async def pull(bus: Bus, job: Job, one: CheckpointState, destination: Path) -> Restored:
    """Fetch one checkpoint; every byte is verified before it appears under its name.

    Raises:
        CheckpointError: an object is gone or damaged.
        DiskError: something cannot be written.
        StoreError: the bucket refuses or does not answer.
    """
    store = open_store(await borrow_reading(bus, JobId(job.job)))
    manifest = outputs_of(await fetch_manifest(store, one.key, one.manifest))
    roots = sorted({entry.root for entry in manifest.files})
    places = places_for(destination, roots, job.spec.outputs)
    for place in places.values():
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskError(f"cannot make {place}", why=error.strerror or "") from error
    return await restore(store, manifest, places)
