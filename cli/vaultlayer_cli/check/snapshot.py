"""A check of a job that has run already: its newest snapshot is fetched and replayed here."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from vaultlayer.checkpoint.manifest import Manifest, manifest_key
from vaultlayer.checkpoint.restore import fetch_manifest, restore
from vaultlayer.errors import CheckError
from vaultlayer.ids import JobId, job_prefix
from vaultlayer.job import Job
from vaultlayer.messages import StoreCredential
from vaultlayer.store.protocol import Store
from vaultlayer.store.s3 import open_store
from vaultlayer_cli.check.trace import Tally
from vaultlayer_cli.check.verdict import DIFFERS, UNKNOWN, Found, judge
from vaultlayer_cli.connect import session
from vaultlayer_cli.environment import host_part
from vaultlayer_cli.names import find_job
from vaultlayer_cli.state import read_job
from vaultlayer_cli.submit import borrow_reading

MODULE = "vaultlayer_agent.rehearse"
GHOST = "ghost"
BASE = "base"
WORK = "work"
REFUSED = "refused: "
"""How the hooks begin when snapshot and machine do not fit, such as one of another GPU."""

ENDED = "the script ended in the replay"
NOT_DONE = "it was not done"
LIMIT_SLACK_S = 30.0


async def check_job(wanted: str, env: Mapping[str, str], timeout_s: float) -> Found:
    """Replay a job's newest snapshot on this machine.

    Raises:
        CheckError: it has none, or the replay cannot be started.
        VaultLayerError: whatever the broker or the bucket says.
    """
    base = Path(tempfile.mkdtemp(prefix="vaultlayer-check-"))
    try:
        async with session() as opened:
            job = await read_job(opened.bus, await find_job(opened.bus, wanted))
            credential = await borrow_reading(opened.bus, JobId(job.job))
            store = open_store(credential)
            manifest = await _newest(store, job)
            await _place(store, credential, job, manifest, base)
        outcome = await _rehearse(job, manifest, base, env, timeout_s)
        return found_of(job, manifest.size_b, outcome)
    finally:
        shutil.rmtree(base, ignore_errors=True)


async def _newest(store: Store, job: Job) -> Manifest:
    """Find the newest checkpoint that holds a snapshot."""
    for one in sorted(job.checkpoints, key=lambda one: one.ordinal, reverse=True):
        if one.rejected:
            continue
        manifest = await fetch_manifest(store, one.key, one.manifest)
        if any(entry.root == GHOST for entry in manifest.files):
            return manifest
    tier = f"tier {job.tier}: {job.tier_detail}" if job.tier else "its tier is not known yet"
    raise CheckError(
        f"job {job.job} has no snapshot to replay",
        why=tier,
        mend=f"vaultlayer check {' '.join(job.spec.command)}"
        if job.tier
        else f"wait for its first snapshot: vaultlayer watch {job.job}",
    )


async def _place(
    store: Store, credential: StoreCredential, job: Job, manifest: Manifest, base: Path
) -> None:
    """Put everything where a replay begins: code and launch-time files; the snapshot's files aside."""
    work = base / WORK
    work.mkdir()
    if job.spec.code:
        prefix = f"{job_prefix(credential.root, JobId(job.job))}code/"
        code = await fetch_manifest(store, manifest_key(prefix, job.spec.code), job.spec.code)
        await restore(store, code, {WORK: work}, sync=False)
    places = {WORK: base / "image", GHOST: base / GHOST, BASE: base / BASE}
    for place in places.values():
        place.mkdir()
    inside = tuple(entry for entry in manifest.files if entry.root in places)
    await restore(store, msgspec.structs.replace(manifest, files=inside), places, sync=False)
    shutil.copytree(base / BASE, work, symlinks=True, dirs_exist_ok=True)


async def _rehearse(
    job: Job, manifest: Manifest, base: Path, env: Mapping[str, str], timeout_s: float
) -> dict[str, Any]:
    meta = manifest.meta
    threads, number = meta.get("pin_threads", ""), meta.get("ghost_number", "")
    order = {
        "job": job.job,
        "command": job.spec.command,
        "work": str(base / WORK),
        "image": str(base / "image"),
        "ghost": str(base / GHOST),
        "number": int(number) if number.isdecimal() else 0,
        "threads": int(threads) if threads.isdecimal() else 0,
        "env": {**host_part(os.environ), **env},
        "limit_s": timeout_s,
    }
    path = base / "order.json"
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(order))
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(
            [sys.executable, "-m", MODULE, str(path)],
            cwd=base,
            capture_output=True,
            timeout=timeout_s + LIMIT_SLACK_S,
            check=False,
        )
    )
    if done.returncode != 0:
        words = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise CheckError("the replay cannot be started here", why=words)
    return msgspec.json.decode(done.stdout, type=dict[str, Any])


def found_of(job: Job, size_b: int, outcome: dict[str, Any]) -> Found:
    """Say what came of a rehearsal, whose outcome stands in `vaultlayer_agent.rehearse`."""
    recorded = Tally(equal=outcome["equal"], of=outcome["of"])
    reason = outcome["reason"]
    is_exact = outcome["phase"] == "recording"
    if not is_exact and not reason:
        reason = f"{NOT_DONE} after {outcome['took_s']:.0f} s"
    if ENDED in reason:
        reason = f"{reason}: {outcome['tail'].strip().rpartition(chr(10))[2]}"
    if is_exact:
        verdict = judge(outcome["step"], Tally(), recorded)
    else:
        verdict = UNKNOWN if reason.startswith((REFUSED, NOT_DONE)) else DIFFERS
    return Found(
        verdict=verdict,
        tier=job.tier,
        detail=job.tier_detail,
        fell="" if is_exact else reason,
        recorded=recorded,
        skipped_steps=outcome["step"],
        snapshot_b=size_b,
        not_covered=["the job's own machine: this replay ran here"],
    )
