"""Which files on this machine the job itself made before, so that no hook takes another's for them."""

import os
from collections.abc import Mapping
from pathlib import Path

from vaultlayer.checkpoint.manifest import Manifest
from vaultlayer.checkpoint.names import unspell


def write_own_files(path: Path, manifest: Manifest, places: Mapping[str, Path]) -> None:
    """Write the real paths of all files that were restored, each ended by a zero byte.

    A hook that looks for the newest checkpoint must not choose one that came with the code, or that
    another job has left behind.

    Args:
        path: the list to write.
        manifest: the checkpoint that stands in place now.
        places: where its roots stand.
    """
    real = {root: os.path.realpath(place) for root, place in places.items()}
    names = (
        f"{real[entry.root]}/{unspell(entry.name)}\0"
        for entry in manifest.files
        if entry.root in real
    )
    path.write_bytes(os.fsencode("".join(names)))
