"""Keeps the output of a replay to itself, that of its children too."""

import os
import sys


class Mute:
    """Keeps a replay's output to itself."""

    def __init__(self):
        sys.stdout.flush()
        sys.stderr.flush()
        self._kept = [os.dup(1), os.dup(2)]
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)
        os.close(null)

    def off(self):
        """Let output through again."""
        if self._kept:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except Exception:
                    pass
            for fd, kept in zip((1, 2), self._kept):
                os.dup2(kept, fd)
                os.close(kept)
            self._kept = []
