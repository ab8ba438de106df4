"""A small disk of one's own, which a test may fill."""

import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

CHUNK_B = 1 << 20


@contextmanager
def small_disk(path: Path, size_mb: int) -> Generator[Path]:
    """Mount an empty disk of `size_mb` at `path`; skips the test where this user may not mount."""
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(path)]
    try:
        done = subprocess.run(mount, check=False, capture_output=True, text=True)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode:
        pytest.skip(f"this user may not mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        # Lazily: a process that is about to end may still have a file open there.
        subprocess.run(["umount", "-l", str(path)], check=True)


def fill(disk: Path, *, leave_b: int = 0) -> Path:
    """Write one file until no more than `leave_b` bytes are free; gives the file."""
    filler = disk / "filler"
    with filler.open("ab", buffering=0) as file:
        try:
            while True:
                file.write(bytes(CHUNK_B))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave_b))
    return filler
