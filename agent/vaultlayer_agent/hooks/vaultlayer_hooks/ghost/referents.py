"""What an object of C code holds, which no attribute shows."""

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
