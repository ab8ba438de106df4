"""One broker a home: an exclusive lock that the kernel gives back when its owner dies."""

import contextlib
import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from vaultlayer.errors import BrokerRunningError


@contextmanager
def broker_lock(run: Path) -> Generator[None]:
    """Own this home while the context is open.

    Args:
        run: `home.run`; the lock file holds the owner's pid for people.

    Raises:
        BrokerRunningError: somebody else owns it; names the pid.
    """
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = run / "broker.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _running(path) from error
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        yield
    finally:
        # The file stays: removing it would let two brokers lock two files of one name.
        os.close(descriptor)


def lock_owner(run: Path) -> int | None:
    """Give the pid of the broker that owns this home now, or None."""
    path = run / "broker.lock"
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return _pid_in(path) or None
    return None


def _running(path: Path) -> BrokerRunningError:
    pid = _pid_in(path)
    return BrokerRunningError(
        f"a broker already runs on {path.parent.parent}",
        why=f"process {pid} holds {path}" if pid else f"{path} is locked",
        mend="vaultlayer down ends it; or set VAULTLAYER_HOME to another directory",
    )


def _pid_in(path: Path) -> int:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
