"""What sweeps have found: one record a smoke job, kept as JSON lines in the home."""

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from vaultlayer.errors import ConfigError, DiskError
from vaultlayer.settings import Home

SMOKES = ("quick", "kill-and-resume", "adapter")


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One smoke job on one provider."""

    provider: str
    smoke: str
    """`quick`, `kill-and-resume` or `adapter`."""
    kind: str
    """`live`, `simulated` (the provider's address is on this machine) or `local`."""
    gpu: str = ""
    job: str = ""
    passed: bool = False
    detail: str = ""
    attempts: int = 0
    resumed_step: int | None = None
    train_s: float = 0.0
    """Within the script's own loop, over all attempts."""
    wall_s: float = 0.0
    """From the submission to the end of the job."""
    cost_usd: float = 0.0
    at: float = 0.0
    version: str = ""


def path_of(home: Home) -> Path:
    """Give the file of this home."""
    return home.state / "sweeps.jsonl"


def append(path: Path, record: Record) -> None:
    """Write one record behind the others, durably.

    Raises:
        DiskError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            file.write(msgspec.json.encode(record) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise DiskError(f"cannot write {path}", why=error.strerror or str(error)) from error


def read(path: Path) -> list[Record]:
    """Read all records, oldest first; a last line that was cut off by a crash is passed over.

    Raises:
        ConfigError: another line is no record.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except FileNotFoundError:
        return []
    records: list[Record] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            records.append(msgspec.json.decode(line, type=Record))
        except msgspec.MsgspecError as error:
            if number == len(lines):
                break
            raise ConfigError(
                f"{path}, line {number}: no record of a sweep",
                why=str(error),
                mend="take the line out",
            ) from error
    return records


def newest(records: Sequence[Record]) -> dict[tuple[str, str, str], Record]:
    """Give the newest record of each (provider, kind, smoke)."""
    return {(r.provider, r.kind, r.smoke): r for r in sorted(records, key=lambda r: r.at)}


def verdict(records: Sequence[Record], provider: str) -> str:
    """Say in a word how a provider stands: `live`, `simulated`, `failed` or `never`.

    Live results count for more than simulated ones; of each smoke the newest counts.
    """
    found = newest([one for one in records if one.provider == provider])
    for kind, word in (("live", "live"), ("simulated", "simulated"), ("local", "live")):
        own = {smoke: one for (_, k, smoke), one in found.items() if k == kind}
        if not own:
            continue
        return word if all(smoke in own and own[smoke].passed for smoke in SMOKES) else "failed"
    return "never"
