"""Containers that the script reaches by several names: a replay may have a copy where the run had one thing.

A dataset that gives out its own dictionaries is the usual case: the batch of a replay is made from a
description. What lies in such a copy is what lies in the first of the names.
"""

NESTED = ".[{~:<("


class Again:
    """Where to look for what has a path in the replay only."""

    def __init__(self, recorded, paths):
        """Take over what was recorded.

        Args:
            recorded: `{path: path by which it was seen first}`.
            paths: of every tensor and value that was recorded.
        """
        self._first = dict(recorded)
        self._paths = paths

    def first(self, path):
        """Give the recorded path of what `path` is a copy of, or None."""
        for _ in range(len(self._first)):
            end = self._longest(path)
            if end is None:
                return None
            path = self._first[path[:end]] + path[end:]
            if path in self._paths:
                return path
        return None

    def _longest(self, path):
        for end in range(len(path), 0, -1):
            whole = end == len(path) or path[end] in NESTED
            if whole and path[:end] in self._first:
                return end
        return None
