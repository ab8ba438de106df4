"""Where this machine's embedded servers listen: written by the broker, read by every other process."""

from pathlib import Path

import msgspec


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """Ports are chosen once and kept, so that agents find the broker again after its restart."""

    bus_port: int
    monitor_port: int
    s3_port: int
    weed_base_port: int
    """First of the S3 server's inner ports."""

    @property
    def bus_url(self) -> str:
        """Where NATS listens."""
        return f"nats://127.0.0.1:{self.bus_port}"

    @property
    def monitor_url(self) -> str:
        """Where nats-server tells of itself."""
        return f"http://127.0.0.1:{self.monitor_port}"

    @property
    def s3_url(self) -> str:
        """Where the S3 server listens; STS answers on the same port."""
        return f"http://127.0.0.1:{self.s3_port}"


def read_endpoints(run: Path) -> Endpoints | None:
    """Read `<run>/endpoints.json`; None when no embedded broker was ever started here."""
    try:
        return msgspec.json.decode((run / "endpoints.json").read_bytes(), type=Endpoints)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_endpoints(run: Path, endpoints: Endpoints) -> None:
    """Write `<run>/endpoints.json` in one step."""
    run.mkdir(parents=True, exist_ok=True)
    draft = run / "endpoints.json.tmp"
    draft.write_bytes(msgspec.json.encode(endpoints))
    draft.replace(run / "endpoints.json")
