"""What goes wrong, when, and how often: set from outside, met by the calls that it names."""

import fnmatch

import msgspec

BEFORE = frozenset(
    {"429", "500", "503", "drop", "auth", "forbidden", "no_capacity", "balance", "offer_gone"}
)
AFTER = frozenset({"500_after", "drop_after", "garbage_after", "slow"})
"""The call is carried out, and its answer is lost, late or a failure."""


class Fault(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One thing that goes wrong.

    `kind` is one of the general ones (BEFORE, AFTER) or any word that the provider's own simulator knows.
    """

    kind: str
    call: str = "*"
    """Name of the call, as a pattern."""
    times: int = 1
    """How often; -1 for always."""
    skip: int = 0
    """How many matching calls are served well before that."""
    value: float = 0.0
    """Seconds, dollars or what the kind needs."""
    text: str = ""


class Faults:
    """All faults that are set."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, kind: str, call: str = "*", **fields: object) -> Fault:
        """Set one more."""
        fault = msgspec.convert({"kind": kind, "call": call, **fields}, Fault)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        """Let all go well again."""
        self._faults.clear()

    def take(self, call: str, *kinds: str) -> Fault | None:
        """Give the first fault that this call meets, and count it as met.

        Args:
            call: the call's name.
            kinds: only these kinds; none: any.
        """
        for fault in self._faults:
            fits = not kinds or fault.kind in kinds
            if not fits or fault.times == 0 or not fnmatch.fnmatchcase(call, fault.call):
                continue
            if fault.skip > 0:
                fault.skip -= 1
                continue
            if fault.times > 0:
                fault.times -= 1
            return fault
        return None

    def peek(self, kind: str) -> Fault | None:
        """Give a fault of that kind that is still to be met, without counting it."""
        return next((one for one in self._faults if one.kind == kind and one.times), None)
