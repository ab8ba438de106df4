"""The step that this process has reached, in a file that outlives it: 8 bytes, little-endian.

What is told to the agent is told five times a second at most; how many steps a death costs is known exactly
only from what the disk holds.
"""

import os

NAME = "reached"
SIZE_B = 8


class Reached:
    """Writes the number of each step; a disk that takes nothing is no reason to stop the script."""

    def __init__(self, directory):
        self._path = os.path.join(directory, NAME)
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        except OSError:
            self._fd = -1

    def note(self, steps):
        """Write the number of the step that has just ended; a microsecond."""
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, steps.to_bytes(SIZE_B, "little"), 0)
            except OSError:
                self.close()

    def close(self):
        """Write no more; the file stays."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def withdraw(self):
        """Take the number back: the script goes on, and its steps are not counted here any more."""
        self.close()
        try:
            os.unlink(self._path)
        except OSError:
            pass
