"""How often a ghost snapshot is taken, as a person says it and as a job's spec keeps it. Pure."""

import re

import msgspec

_WORDS = re.compile(r"(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>steps?|s|m|h)\Z")
_UNITS_S = {"s": 1.0, "m": 60.0, "h": 3600.0}


class Every(msgspec.Struct, frozen=True, kw_only=True):
    """`steps` or `seconds` when the user chose, both 0 when the agent chooses; `is_off`: never."""

    steps: int = 0
    seconds: float = 0.0
    is_off: bool = False

    @property
    def words(self) -> str:
        """The canonical spelling: `200steps`, `300s`, `off` or ""."""
        if self.is_off:
            return "off"
        if self.steps:
            return f"{self.steps}steps"
        return f"{self.seconds:g}s" if self.seconds else ""


def parse_every(text: str) -> Every:
    """Read `5m`, `90s`, `200steps`, `off` or "".

    Raises:
        ValueError: it is none of these, or not more than nothing.
    """
    words = text.strip().lower()
    if words in {"", "auto"}:
        return Every()
    if words == "off":
        return Every(is_off=True)
    found = _WORDS.match(words)
    number = float(found["number"]) if found else 0.0
    if found is None or not number:
        raise ValueError(
            f"{text!r} is neither a time such as 5m, nor steps such as 200steps, nor off"
        )
    if found["unit"].startswith("step"):
        if not number.is_integer():
            raise ValueError(f"{text!r} is no whole number of steps")
        return Every(steps=int(number))
    return Every(seconds=number * _UNITS_S[found["unit"]])
