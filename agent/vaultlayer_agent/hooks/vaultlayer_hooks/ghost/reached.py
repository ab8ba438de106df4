"""The step that this process has reached, in a file that outlives it: 8 bytes, little-endian.

What is told to the agent is told five times a second at most; how many steps a death costs is known exactly
only from what the disk holds.
"""

import mmap
import os
import struct

NAME = "reached"
SIZE_B = 8
_pack_into = struct.Struct("<Q").pack_into


class Reached:
    """Writes the number of each step; a disk that takes nothing is no reason to stop the script."""

    def __init__(self, directory):
        self._path = os.path.join(directory, NAME)
        self._memory = None
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            try:
                # Written, so that the disk has the room: a full one would kill whoever touches the memory.
                if os.pwrite(fd, bytes(SIZE_B), 0) == SIZE_B:
                    self._memory = mmap.mmap(fd, SIZE_B)
            finally:
                os.close(fd)
        except (OSError, ValueError):
            pass

    def note(self, steps):
        """Write the number of the step that has just ended; no call of the system."""
        if self._memory is not None:
            _pack_into(self._memory, 0, steps)

    def close(self):
        """Write no more; the file stays."""
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()

    def withdraw(self):
        """Take the number back: the script goes on, and its steps are not counted here any more."""
        self.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass
