"""API keys of providers on their way from a person to the vault: never on a command line, never shown."""

import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import msgspec
import typer

from vaultlayer import subjects
from vaultlayer.driver import DriverType
from vaultlayer.errors import BrokerDownError, EnvError, FlagError
from vaultlayer.messages import Done, ProviderKey, ProviderKeysReply, ProviderSecrets, VaultKey
from vaultlayer.sealing import seal
from vaultlayer.settings import Home, load_settings
from vaultlayer_cli.connect import session

PROCESSES = "vaultlayer.processes"


def read_values(kind: DriverType, file: Path | None) -> dict[str, str]:
    """Give the provider's key fields: from a file, a pipe, or asked for without echo.

    A provider with one field takes the text as it is; one with several a JSON object with their names.

    Raises:
        FlagError: the provider needs no key.
        EnvError: the file cannot be read, or has not these fields.
    """
    fields = kind.manifest.keys
    name = kind.manifest.name
    if not fields:
        raise FlagError(f"{name} needs no API key", mend="vaultlayer providers")
    if file is None and sys.stdin.isatty():
        return {
            field: typer.prompt(f"{name} {told}", hide_input=True, err=True).strip()
            for field, told in fields.items()
        }
    return fields_of(_text(file), list(fields), name)


def fields_of(text: str, fields: list[str], name: str) -> dict[str, str]:
    """Read key fields from text; no error quotes it."""
    text = text.strip()
    mend = (
        f"a JSON object with {', '.join(fields)}" if len(fields) > 1 else "the key and nothing else"
    )
    if not text:
        raise EnvError(f"there is no key for {name}", why="the text is empty", mend=mend)
    if len(fields) == 1:
        return {fields[0]: text}
    try:
        values = msgspec.json.decode(text, type=dict[str, str])
    except msgspec.MsgspecError:
        raise EnvError(f"the keys of {name} cannot be read", mend=mend) from None
    if set(values) != set(fields):
        missing = [field for field in fields if field not in values]
        why = f"missing: {', '.join(missing)}" if missing else "there are fields that it has not"
        raise EnvError(f"the keys of {name} cannot be used", why=why, mend=mend)
    return values


def _text(file: Path | None) -> str:
    if file is None or str(file) == "-":
        return sys.stdin.read()
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise EnvError(f"cannot read the key file {file}", why=why or "") from error


async def hand_over(home: Home, provider: str, values: dict[str, str]) -> bool:
    """Give the keys to the vault; whether a running broker has them.

    Without a broker on this machine they go into the sealed store of this home.
    """
    try:
        async with session(home) as opened:
            key = (await opened.bus.request(subjects.VAULT_KEY, Done(), VaultKey)).key
            box = seal(key, msgspec.json.encode(ProviderSecrets(values=values)))
            await opened.bus.request(
                subjects.PROVIDER_KEY, ProviderKey(provider=provider, box=box), Done
            )
            return True
    except BrokerDownError:
        if load_settings(home.config_file).bus.urls:
            raise
    _process("provider_put")(home=home, provider=provider, values=values)
    return False


async def held_fields(home: Home) -> dict[str, list[str]] | None:
    """Give which fields of which provider are held; None where nobody can tell."""
    try:
        async with session(home) as opened:
            reply = await opened.bus.request(subjects.PROVIDER_KEYS, Done(), ProviderKeysReply)
            return reply.fields
    except BrokerDownError:
        if load_settings(home.config_file).bus.urls:
            return None
    return _process("provider_fields")(home=home)


def _process(name: str) -> Callable[..., dict[str, list[str]]]:
    found = {point.name: point for point in entry_points(group=PROCESSES)}
    if name not in found:
        raise BrokerDownError(
            "this installation has no vault to keep keys in",
            mend="give them to the broker's environment: VAULTLAYER_PROVIDER_<NAME>_<FIELD>",
        )
    return found[name].load()
