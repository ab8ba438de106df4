"""`vaultlayer down`."""

import sys
from typing import Annotated

import typer

from vaultlayer.errors import BrokerError, RefusedError
from vaultlayer.messages import JobRow
from vaultlayer.settings import Home, find_home
from vaultlayer_cli.broker import broker_file, stop_broker
from vaultlayer_cli.connect import run_async, session
from vaultlayer_cli.names import list_jobs
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.render import counted
from vaultlayer_cli.terminal import print_json, say


def down(
    force: Annotated[
        bool, typer.Option("--force", help="Also while jobs are open or machines may be billing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Stop the broker on this machine.

    While it is down nobody watches open jobs: they train on, a dead machine is not replaced, and rented
    machines end themselves after their orphan time. `vaultlayer up` takes everything up again.
    """
    run_async(_down, find_home(), force, as_json)


async def _down(home: Home, force: bool, as_json: bool) -> None:
    found = broker_file(home)
    if found is None:
        _tell(0, [], as_json=as_json)
        return
    rows = await _open_jobs(home)
    if rows and not force:
        _ask(rows, may_ask=not as_json)
    await stop_broker(found)
    _tell(found.pid, rows, as_json=as_json)


async def _open_jobs(home: Home) -> list[JobRow]:
    """Give the jobs that are open, or have machines that are not seen gone; none when nobody can tell."""
    try:
        async with session(home) as opened:
            rows = await list_jobs(opened.bus, everything=True)
    except BrokerError:
        return []
    return [row for row in rows if not row.finished_at or row.may_bill]


def _ask(rows: list[JobRow], *, may_ask: bool) -> None:
    """Say what is left unwatched, and let the person decide.

    Raises:
        RefusedError: there is nobody to ask, or the answer is no.
    """
    is_open = [row for row in rows if not row.finished_at]
    billing = sum(row.may_bill for row in rows)
    told = [
        f"{counted(len(is_open), 'job')} open: {', '.join(row.job for row in is_open[:5])}"
        if is_open
        else "",
        f"{counted(billing, 'machine')} not yet seen gone, may still be billing" if billing else "",
    ]
    why = "; ".join(part for part in told if part)
    if may_ask and sys.stdin.isatty():
        say(why)
        if typer.confirm("Stop the broker all the same?", default=False, err=True):
            return
    raise RefusedError("the broker goes on", why=why, mend="vaultlayer down --force")


def _tell(pid: int, rows: list[JobRow], *, as_json: bool) -> None:
    if as_json:
        print_json({"stopped": bool(pid), "pid": pid, "unwatched": [row.job for row in rows]})
    elif not pid:
        say("no broker runs on this machine")
    else:
        say(f"the broker (pid {pid}) has ended")
        if rows:
            say(
                f"nobody watches {counted(len(rows), 'job')} now; vaultlayer up takes them up again"
            )
