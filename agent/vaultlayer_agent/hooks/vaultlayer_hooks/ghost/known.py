"""What is known of objects, by their identity, for as long as they live.

Twice as fast as `WeakKeyDictionary`, which is asked several times a step; and objects that compare equal, or
that cannot be hashed, stay apart.
"""

import weakref


class Known:
    """Something of ours for each of some objects."""

    def __init__(self, make):
        self._make = make
        self._entries = {}

    def of(self, thing):
        """Give what is known of an object, made at first sight."""
        entry = self._entries.get(id(thing))
        if entry is not None and entry[0]() is thing:
            return entry[1]
        made = self._make()
        self.put(thing, made)
        return made

    def put(self, thing, value):
        """Set what is known of an object."""
        key, entries = id(thing), self._entries
        for dead in [k for k, (ref, _) in entries.items() if ref() is None]:
            del entries[dead]
        entries[key] = (weakref.ref(thing), value)
