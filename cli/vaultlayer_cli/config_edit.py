"""Changes a provider's table of the configuration line by line; comments and order stay."""

import re
from collections.abc import Mapping

import msgspec

from vaultlayer.settings import Home, load_settings, parse_settings
from vaultlayer_cli.config_file import write_config

_HEAD = re.compile(r"\s*\[\s*([^\[\]]+?)\s*\]\s*(?:#.*)?$")
_ALLOW = re.compile(r"(\s*allow\s*=\s*)(true|false)(.*)$")


def with_allow(text: str, provider: str, *, allow: bool) -> str:
    """Give the configuration's text with `allow` of one provider set.

    Args:
        text: the whole file.
        provider: its table's name; the table is added at the end where there is none.
        allow: what it becomes.
    """
    value = "true" if allow else "false"
    lines = text.splitlines()
    head = next((at for at, line in enumerate(lines) if _is_head(line, provider)), None)
    if head is None:
        return "\n".join([*lines, "", f"[providers.{provider}]", f"allow = {value}"]) + "\n"
    for at in range(head + 1, len(lines)):
        if _HEAD.match(lines[at]):
            break
        if found := _ALLOW.match(lines[at]):
            lines[at] = f"{found[1]}{value}{found[3]}"
            return "\n".join(lines) + "\n"
    lines.insert(head + 1, f"allow = {value}")
    return "\n".join(lines) + "\n"


def with_options(text: str, provider: str, options: Mapping[str, object]) -> str:
    """Give the configuration's text with options of one provider set, each on a line of its own.

    Args:
        text: the whole file.
        provider: its table's name; it must be there.
        options: strings, numbers, booleans or lists of them.
    """
    for name, value in options.items():
        lines = text.splitlines()
        head = next(at for at, line in enumerate(lines) if _is_head(line, provider))
        end = next((at for at in range(head + 1, len(lines)) if _HEAD.match(lines[at])), len(lines))
        own = re.compile(rf"\s*{re.escape(name)}\s*=")
        here = [at for at in range(head + 1, end) if own.match(lines[at])]
        line = f"{name} = {msgspec.json.encode(value).decode()}"
        if here:
            lines[here[0]] = line
        else:
            lines.insert(head + 1, line)
        text = "\n".join(lines) + "\n"
    return text


def set_options(home: Home, provider: str, options: Mapping[str, object]) -> None:
    """Allow a provider and set options of it in the configuration file.

    Raises:
        NotInitialisedError: there is none.
        ConfigError: it is broken, or cannot be changed line by line; it is left as it was.
        DiskError: it cannot be written.
    """
    path = home.config_file
    load_settings(path)
    text = with_allow(path.read_text(encoding="utf-8"), provider, allow=True)
    text = with_options(text, provider, options)
    parse_settings(text, str(path))
    write_config(home, text)


def set_allow(home: Home, provider: str, *, allow: bool) -> bool:
    """Change the configuration file; whether anything changed.

    Raises:
        NotInitialisedError: there is none.
        ConfigError: it is broken, or cannot be changed line by line; it is left as it was.
        DiskError: it cannot be written.
    """
    path = home.config_file
    if (provider in load_settings(path).allowed) is allow:
        return False
    text = with_allow(path.read_text(encoding="utf-8"), provider, allow=allow)
    parse_settings(text, str(path))
    write_config(home, text)
    return True


def _is_head(line: str, provider: str) -> bool:
    found = _HEAD.match(line)
    name = found[1].replace('"', "").replace("'", "") if found else ""
    return re.sub(r"\s*\.\s*", ".", name) == f"providers.{provider}"
