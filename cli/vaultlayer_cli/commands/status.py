"""`vaultlayer status`."""

import sys
from collections import Counter
from typing import Any

import msgspec

from vaultlayer.endpoints import read_endpoints
from vaultlayer.errors import BrokerDownError
from vaultlayer.messages import JobRow, StatusReply
from vaultlayer.settings import Home, Settings, find_home, load_settings
from vaultlayer_cli.broker import broker_file
from vaultlayer_cli.connect import ask_status, bus_urls, run_async, session
from vaultlayer_cli.names import list_jobs
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.table import pairs_text
from vaultlayer_cli.terminal import has_colour, paint, print_json
from vaultlayer_cli.units import duration_text


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say."""

    home: Home
    settings: Settings
    reply: StatusReply | None
    jobs: list[JobRow]
    down: BrokerDownError | None = None


def status(as_json: AsJson = False) -> int:
    """Show whether the broker serves, where, and what it has to do.

    The exit status is that of an unreachable broker when nobody answers.
    """
    return run_async(_status, as_json)


async def _status(as_json: bool) -> int:
    home = find_home()
    settings = load_settings(home.config_file)
    try:
        async with session(home) as opened:
            reply = await ask_status(opened.bus)
            jobs = await list_jobs(opened.bus, everything=True)
        found = Found(home=home, settings=settings, reply=reply, jobs=jobs)
    except BrokerDownError as error:
        found = Found(home=home, settings=settings, reply=None, jobs=[], down=error)
    if as_json:
        print_json(status_object(found))
    else:
        colour = has_colour(sys.stdout)
        sys.stdout.write(pairs_text(pairs(found, colour=colour), colour=colour))
    return found.down.exit_status if found.down else 0


def status_object(found: Found) -> dict[str, Any]:
    """Give what `--json` prints."""
    broker = broker_file(found.home)
    reply = found.reply
    return {
        "serving": reply is not None,
        "why": found.down.what if found.down else "",
        "version": reply.version if reply else "",
        "up_s": reply.up_s if reply else 0.0,
        "pid": broker.pid if broker else 0,
        "bus": _urls(found),
        "store": _store(found),
        "home": str(found.home.state),
        "config": str(found.home.config_file),
        "providers": found.settings.allowed,
        "jobs": dict(Counter(row.status for row in found.jobs)),
        "may_bill": sum(row.may_bill for row in found.jobs),
    }


def pairs(found: Found, *, colour: bool) -> list[tuple[str, str]]:
    """Give what a person sees."""
    broker = broker_file(found.home)
    if found.reply is not None:
        state = paint("serving", "green bold", colour=colour)
        serving = f"{state} for {duration_text(found.reply.up_s)}, version {found.reply.version}"
        pid = f", pid {broker.pid}" if broker else ""
        head = serving + pid
    else:
        assert found.down is not None
        state = paint("not serving", "red bold", colour=colour)
        why = f" ({found.down.why})" if found.down.why else ""
        head = f"{state}: {found.down.what}{why}"
    counts = Counter(row.status for row in found.jobs)
    jobs = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    billing = sum(row.may_bill for row in found.jobs)
    return [
        ("broker", head),
        ("mend", found.down.mend if found.down else ""),
        ("bus", ", ".join(_urls(found)) or "-"),
        ("store", _store(found) or "-"),
        ("providers", ", ".join(found.settings.allowed) or "none is allowed"),
        ("jobs", (jobs or "none") if found.reply else ""),
        ("may bill", f"{billing} machines that are over and not yet seen gone" if billing else ""),
        ("home", str(found.home.state)),
        ("config", str(found.home.config_file)),
    ]


def _urls(found: Found) -> list[str]:
    try:
        return bus_urls(found.home, found.settings)
    except BrokerDownError:
        return []


def _store(found: Found) -> str:
    store = found.settings.store
    endpoints = read_endpoints(found.home.run)
    where = store.endpoint or (endpoints.s3_url if endpoints else "")
    return f"{where}/{store.bucket}" if where else ""
