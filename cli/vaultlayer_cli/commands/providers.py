"""`vaultlayer providers`."""

from pathlib import Path
from typing import Annotated

import typer

from vaultlayer.errors import FlagError
from vaultlayer.settings import Home, find_home
from vaultlayer_cli import exit_codes
from vaultlayer_cli import provider_keys as pk
from vaultlayer_cli.config_edit import set_allow
from vaultlayer_cli.connect import run_async
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.provider_audit import audit
from vaultlayer_cli.provider_check import check
from vaultlayer_cli.provider_rows import COLUMNS, ProviderRow, cells, gather, styles
from vaultlayer_cli.providers import known_driver
from vaultlayer_cli.table import print_table
from vaultlayer_cli.terminal import print_json, say

VERBS = ("list", "allow", "ban", "key", "forget", "audit", "check")


def providers(
    verb: Annotated[
        str, typer.Argument(metavar="|".join(VERBS), help="What to do; by default, list.")
    ] = "list",
    name: Annotated[str, typer.Argument(metavar="NAME", show_default=False)] = "",
    file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="key: read it from here; - is standard input."),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """List the providers, allow or ban one, hand over its API key.

    allow and ban change one line of the configuration; the broker takes it up when it starts again. key
    asks for the API key, or reads it from a file or a pipe, and hands it to the vault, which keeps it sealed;
    a running broker uses it at once. forget takes it away again. audit lists every machine that carries our
    tag, what the log knows of it and what it costs; those that nobody wants are ended by the sweeper. check
    asks a provider all that can be asked without making a machine: whether the key is accepted and may make
    machines, what is left to spend, whether the clocks agree, what it offers; the exit status is 1 when
    something failed.
    """
    home = find_home()
    if verb not in VERBS:
        raise FlagError(f"providers has no verb {verb!r}", mend=f"one of: {', '.join(VERBS)}")
    if verb == "list":
        run_async(_list, home, name, as_json)
        return exit_codes.OK
    if verb == "audit":
        return run_async(audit, [name] if name else [], as_json=as_json)
    if not name:
        raise FlagError(
            f"providers {verb}: which provider?", mend=f"vaultlayer providers {verb} vast"
        )
    kind = known_driver(name)
    if verb == "check":
        return run_async(check, name, as_json=as_json)
    if verb in {"allow", "ban"}:
        _allow(home, name, verb == "allow", needs_keys=kind.manifest.needs_keys, as_json=as_json)
    elif verb == "key":
        values = pk.read_values(kind, file)
        run_async(_hand_over, home, name, values, as_json)
    else:
        run_async(_hand_over, home, name, {}, as_json)
    return exit_codes.OK


async def _list(home: Home, name: str, as_json: bool) -> None:
    rows = [row for row in await gather(home) if not name or row.provider == name]
    if name and not rows:
        known_driver(name)
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(COLUMNS, [cells(row) for row in rows], [styles(row) for row in rows])
    _advise(rows)


def _advise(rows: list[ProviderRow]) -> None:
    """Say the next step of whoever has allowed no cloud yet."""
    for row in rows:
        if row.allowed and row.key == "missing":
            say(f"{row.provider} has no API key: vaultlayer providers key {row.provider}")
    if not any(row.allowed and row.provider != "local" for row in rows):
        say(
            "allow one: vaultlayer providers allow NAME; docs/providers.md tells where keys come from"
        )


def _allow(home: Home, name: str, allow: bool, *, needs_keys: bool, as_json: bool) -> None:
    changed = set_allow(home, name, allow=allow)
    if as_json:
        print_json({"provider": name, "allowed": allow, "changed": changed})
        return
    state = "allowed" if allow else "banned"
    if not changed:
        say(f"{name} is {state} already; nothing was changed")
        return
    say(f"{name} is {state} in {home.config_file}")
    if allow and needs_keys:
        say(f"its API key: vaultlayer providers key {name}")
    say("a running broker takes it up when it starts again: vaultlayer down, vaultlayer up")


async def _hand_over(home: Home, name: str, values: dict[str, str], as_json: bool) -> None:
    live = await pk.hand_over(home, name, values)
    if as_json:
        print_json({"provider": name, "fields": sorted(values), "live": live})
    elif values:
        say(f"{name}: kept {', '.join(sorted(values))}, sealed" + (", in use now" if live else ""))
    else:
        say(f"{name}: its keys are taken away")
