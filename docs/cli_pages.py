"""Writes the generated parts of docs/cli.md: every command from its own parameters, and every error.

`python docs/cli_pages.py` writes them; `tests/unit/test_cli_docs.py` fails when they differ from the code.
"""

import inspect
import re
from pathlib import Path
from typing import Any

from vaultlayer_cli import exit_codes
from vaultlayer_cli.app import GROUPS, load

PAGE = Path(__file__).parent / "cli.md"


def section(name: str, text: str, body: str) -> str:
    """Replace what stands between the marks of one section."""
    mark = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
    assert mark.search(text), name
    return mark.sub(lambda found: f"{found[1]}\n{body}\n{found[2]}", text)


def cell(text: str) -> str:
    """Make text safe in a table."""
    return " ".join(text.split()).replace("|", "\\|")


def parameter_row(parameter: Any) -> str:
    """Spell one argument or option as a table row."""
    name = parameter.metavar or parameter.name
    if parameter.param_type_name == "option":
        short_last = sorted(parameter.opts, key=lambda opt: not opt.startswith("--"))
        value = f" {parameter.metavar}" if parameter.metavar else ""
        name = ", ".join(short_last) + value
    default = parameter.default
    told = "" if default in (None, "", False, 0, ()) else f" Default: `{default}`."
    repeated = (
        " May be repeated." if parameter.param_type_name == "option" and parameter.multiple else ""
    )
    text = (parameter.help or "").rstrip()
    repeated = "" if "repeated" in text else repeated
    return f"| `{cell(name)}` | {cell(text + repeated + told)} |"


def command_text(name: str) -> str:
    """Give one command's part: what it does, its arguments and options."""
    command = load(name)
    words = inspect.cleandoc(command.help or "").split("\n\n")
    lines = [f"### {name}", "", *["\n".join(part.split("\n")) + "\n" for part in words]]
    rows = [parameter_row(one) for one in command.params]
    if rows:
        lines += ["| | |", "| --- | --- |", *rows, ""]
    return "\n".join(lines)


def commands_text() -> str:
    """Give all commands in the order of `vaultlayer --help`."""
    return "\n".join(command_text(name) for group in GROUPS.values() for name in group)


def errors_text() -> str:
    """Give the table of exit statuses and error codes."""
    lines = ["| status | meaning |", "| --- | --- |"]
    lines += [f"| {status} | {cell(text)} |" for status, text in exit_codes.MEANINGS.items()]
    lines += ["", "| status | code | meaning |", "| --- | --- | --- |"]
    lines += [
        f"| {status} | `{code}` | {cell(text)} |" for status, code, text in exit_codes.error_rows()
    ]
    return "\n".join(lines) + "\n"


def render(text: str) -> str:
    """Give the page with its generated parts as the code has them."""
    return section("errors", section("commands", text, commands_text()), errors_text())


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text()))
