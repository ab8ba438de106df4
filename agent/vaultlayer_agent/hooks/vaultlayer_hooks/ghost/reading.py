"""Files that are read: a replay brings them to where they were, since skipped calls may have read on."""

import os
import stat


class Reading:
    """A file that is only read, by its position."""

    def __init__(self, file):
        self._file = file

    @property
    def position(self):
        """Where the next thing is read."""
        return self._file.tell()

    @position.setter
    def position(self, position):
        self._file.seek(position)


def held(file):
    """Give what a file holds, as `places.inside` does: its position, and the archive that it writes to."""
    try:
        if file.closed:
            return ()
        if file.writable():
            return ((".buffer", getattr(file, "buffer", None)),)
        if not file.seekable() or not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return ()
    except (OSError, ValueError, AttributeError):
        return ()
    reading = Reading(file)
    try:
        return ((".position", reading.position, reading, "position"),)
    except OSError:
        # A text of which a loop takes the lines does not tell.
        return ((".read", os.lseek(file.fileno(), 0, os.SEEK_CUR)),)
