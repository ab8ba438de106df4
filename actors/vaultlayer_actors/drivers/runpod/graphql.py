"""As much of GraphQL as RunPod's clients write: one operation, values in place, no variables or fragments."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_TOKEN = re.compile(r'[{}()\[\]:!]|"(?:\\.|[^"\\])*"|-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?|[_A-Za-z]\w*')
_WORDS = {"true": True, "false": False, "null": None}


@dataclass
class Field:
    """One field that is asked for."""

    name: str
    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    fields: list["Field"] = field(default_factory=list["Field"])


class _Reader:
    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        self._at = 0

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self, wanted: str = "") -> str:
        token = self.peek()
        if not token or (wanted and token != wanted):
            raise ValueError(f"Syntax Error: Expected {wanted or 'a token'}, found {token!r}.")
        self._at += 1
        return token

    def selection(self) -> list[Field]:
        self.take("{")
        found: list[Field] = []
        while self.peek() != "}":
            found.append(self.field())
        self.take("}")
        return found

    def field(self) -> Field:
        one = Field(self.take())
        if self.peek() == "(":
            self.take("(")
            one.arguments = self.pairs(")")
        if self.peek() == "{":
            one.fields = self.selection()
        return one

    def pairs(self, end: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        while self.peek() != end:
            name = self.take()
            self.take(":")
            found[name] = self.value()
        self.take(end)
        return found

    def value(self) -> Any:
        first = self.take()
        if first == "{":
            return self.pairs("}")
        if first == "[":
            found: list[Any] = []
            while self.peek() != "]":
                found.append(self.value())
            self.take("]")
            return found
        if first[0] in '"-0123456789':
            return json.loads(first)
        return _WORDS.get(first, first)


def parse(text: str) -> list[Field]:
    """Read one operation's fields.

    Raises:
        ValueError: it cannot be read.
    """
    reader = _Reader(text)
    while reader.peek() not in {"{", ""}:
        reader.take()
    return reader.selection()


def pick(value: Any, fields: Sequence[Field]) -> Any:
    """Give of a value only what is asked for; a callable is called with the field's arguments."""
    if not fields or value is None:
        return value
    if isinstance(value, list):
        rows: list[Any] = value  # pyright: ignore[reportUnknownVariableType]
        return [pick(row, fields) for row in rows]
    known: Mapping[str, Any] = value
    found: dict[str, Any] = {}
    for one in fields:
        inner: Any = known.get(one.name)
        if callable(inner):
            resolve: Callable[[dict[str, Any]], Any] = inner
            inner = resolve(one.arguments)
        found[one.name] = pick(inner, one.fields)
    return found
