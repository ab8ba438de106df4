"""Optional halves of third parties' packages that we never or rarely use, and that take longer to import than
all of ours: they were half of the start of every process, the agent's on a rented machine among them.
"""

import sys
from collections.abc import Generator
from contextlib import contextmanager


@contextmanager
def left_out(name: str) -> Generator[None]:
    """Let what is imported meanwhile find that an optional package is not installed.

    One that is imported already is not hidden.
    """
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # pyright: ignore[reportArgumentType]  how the language spells "not to be had"
    try:
        yield
    finally:
        del sys.modules[name]
