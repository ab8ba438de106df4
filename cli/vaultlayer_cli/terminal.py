"""What a stream can show: colour, width, marks; and the one way to print JSON."""

import os
import shutil
import sys
from collections.abc import Mapping
from enum import Enum
from typing import Any, TextIO, cast

import msgspec

wants_json = False
"""Whether this process was asked for JSON; set by the option itself."""

STYLES = {
    "bold": "1",
    "dim": "2",
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
}

STATUS_STYLES = {
    "running": "green",
    "succeeded": "green",
    "starting": "cyan",
    "queued": "cyan",
    "recovering": "yellow",
    "suspect": "yellow",
    "failed": "red",
    "cancelled": "dim",
}


def is_screen(stream: TextIO) -> bool:
    """Tell whether a person looks at the stream on something that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM", "") != "dumb"


def has_colour(stream: TextIO) -> bool:
    """Tell whether to colour; the environment's NO_COLOR is respected (no-color.org)."""
    return is_screen(stream) and not os.environ.get("NO_COLOR")


def paint(text: str, style: str, *, colour: bool) -> str:
    """Give `text` in a style of words such as `red bold`; unchanged without colour."""
    if not colour or not style:
        return text
    codes = ";".join(STYLES[word] for word in style.split())
    return f"\x1b[{codes}m{text}\x1b[0m"


def width_of(stream: TextIO) -> int:
    """Give the columns of the stream; what is no screen has no limit worth naming."""
    return shutil.get_terminal_size((80, 24)).columns if is_screen(stream) else 10_000


def mark(stream: TextIO) -> str:
    """Give what stands before a line of ours between lines of the script."""
    encoding = (stream.encoding or "ascii").lower().replace("-", "")
    return "▸" if is_screen(stream) and encoding.startswith("utf") else "--"


def say(text: str) -> None:
    """Tell the person something on stderr, on a line of its own, marked as ours."""
    stream = sys.stderr
    colour = has_colour(stream)
    stream.write(f"{paint(mark(stream), 'cyan', colour=colour)} {text}\n")
    stream.flush()


def full(value: Any) -> Any:
    """Give plain values of a Struct with every field, defaults included, so that names are stable."""
    if isinstance(value, msgspec.Struct):
        return {name: full(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, msgspec.Raw):
        return msgspec.json.decode(value)
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        mapping = cast("Mapping[Any, Any]", value)
        return {str(name): full(inner) for name, inner in mapping.items()}
    if isinstance(value, list | tuple):
        return [full(inner) for inner in cast("list[Any]", value)]
    return value


def print_json(value: Any) -> None:
    """Print one object on one line of stdout."""
    sys.stdout.write(msgspec.json.encode(full(value)).decode() + "\n")
    sys.stdout.flush()
