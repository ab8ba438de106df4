"""The agent's command line: `vaultlayer-agent --boot FILE`."""

import argparse
import importlib.metadata
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import msgspec

from vaultlayer.driver import BootPayload
from vaultlayer.ids import Attempt, JobId, instance_name
from vaultlayer.logging import get_logger, set_up_logging
from vaultlayer_agent.power import end_machine
from vaultlayer_agent.run import Agent

EX_DATAERR = 65
EX_NOINPUT = 66


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one attempt; see `vaultlayer_agent.core.Status` for what the exit status means."""
    parser = argparse.ArgumentParser(prog="vaultlayer-agent", description=__doc__)
    parser.add_argument("--boot", required=True, type=Path, help="BootPayload as JSON; is deleted")
    parser.add_argument("--version", action="version", version=f"vaultlayer-agent {version()}")
    parser.add_argument("--log-level", default="INFO")
    options = parser.parse_args(arguments)
    set_up_logging(sys.stderr, level=options.log_level.upper())
    try:
        boot = read_boot(options.boot)
    except OSError as error:
        print(f"cannot read {options.boot}: {error.strerror}", file=sys.stderr)  # noqa: T201
        return EX_NOINPUT
    except msgspec.MsgspecError:
        print(f"{options.boot} is no boot payload", file=sys.stderr)  # noqa: T201
        return EX_DATAERR
    # The bootstrap writes its stages to the same place.
    name = instance_name(JobId(boot.job), Attempt(boot.attempt))
    state_path = Path(boot.state_path or f"~/.vaultlayer/{name}").expanduser()
    state_path.mkdir(mode=0o700, parents=True, exist_ok=True)
    get_logger().info("agent_started", job=boot.job, attempt=boot.attempt, pid=os.getpid())
    return anyio.run(live, boot, state_path)


async def live(boot: BootPayload, state_path: Path) -> int:
    """Live one attempt through, then end the machine if it may end itself and nobody wants it."""
    status = await Agent(boot, state_path=state_path, version=version()).run()
    await end_machine(boot, status)
    return status


def read_boot(path: Path) -> BootPayload:
    """Read the boot payload and delete its file, for it holds a credential.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: it is no boot payload; it is deleted all the same.
    """
    data = path.read_bytes()
    path.unlink()
    return msgspec.json.decode(data, type=BootPayload)


def version() -> str:
    """Give the installed version; empty in a bare source tree."""
    try:
        return importlib.metadata.version("vaultlayer")
    except importlib.metadata.PackageNotFoundError:
        return ""


if __name__ == "__main__":
    sys.exit(main())
