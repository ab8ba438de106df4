"""What is known of a class, found once, without keeping classes alive that their makers let go."""

import weakref

from vaultlayer_hooks.ghost.whose import is_in_its_module


class ByClass(dict):
    """What a function finds out about a class, by class.

    A class that a function has made may hold modules, in a closure for instance, and all their memory with
    them; it is known for as long as it lives.
    """

    def __init__(self, find):
        super().__init__()
        self._find = find
        self._made = weakref.WeakKeyDictionary()

    def __missing__(self, kind):
        found = self._made.get(kind)
        if found is None:
            found = self._find(kind)
            known = self if is_in_its_module(kind) else self._made
            known[kind] = found
        return found
