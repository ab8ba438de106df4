"""What objects hold that their namespace does not show."""

import itertools
from gc import get_referents


def referents(value):
    """Give what an object refers to, in the order in which the collector sees it.

    `zip_longest` drops what is used up from its tuple, and to look into the hole ends the process.
    """
    found = get_referents(value)
    if type(value) is not itertools.zip_longest:
        return found
    return [x for held in found for x in (get_referents(held) if type(held) is tuple else (held,))]


def slots_of(kind):
    """Give the names under which instances of a class keep values outside a dictionary."""
    found = []
    for cls in kind.__mro__:
        slots = cls.__dict__.get("__slots__", ())
        for slot in (slots,) if isinstance(slots, str) else slots:
            if slot not in ("__dict__", "__weakref__"):
                hidden = slot.startswith("__") and not slot.endswith("__")
                found.append("_%s%s" % (cls.__name__.lstrip("_"), slot) if hidden else slot)
    return found
