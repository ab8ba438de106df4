"""The script's files: flushed before a snapshot, and put back as they were when a replay goes live.

A replay writes its files for real. Text comes out the same, since every printed value comes from the log;
files of tensor data hold ghosts. At go-live every file that differs from the image of the snapshot's moment
is replaced: in place where the script holds it open, else by a new file.
"""

import gc
import io
import os
import shutil
import stat

from vaultlayer_hooks.ghost import outside, temporary
from vaultlayer_hooks.ghost.live import of_kind
from vaultlayer_hooks.ghost.state import Diverged

WRITERS = (io.TextIOWrapper, io.BufferedWriter, io.BufferedRandom, io.FileIO)
CHUNK_B = 1 << 20


class Files:
    """The files below the working directory."""

    def __init__(self):
        self._work = os.path.realpath(os.environ.get("VAULTLAYER_WORK_DIR") or os.getcwd())
        self._image = os.environ.get("VAULTLAYER_GHOST_IMAGE", "")
        self._first = set()
        self._open = ()

    def begin_replay(self):
        """Note which files are there before the script has written any."""
        self._first = set(_tree(self._work))

    def flush(self):
        """Flush what the script has open for writing, and note the positions."""
        outside.flush()
        self._open = tuple(
            (name, os.lseek(file.fileno(), 0, os.SEEK_CUR)) for name, file in self._writing()
        )

    def holds(self, path):
        """Whether the image of a snapshot has what is written to this path."""
        return os.path.realpath(path).startswith(self._work + os.sep)

    def marks(self):
        """Give what changes when anything is written below the working directory."""
        found = {}
        for name in _tree(self._work):
            try:
                it = os.lstat(os.path.join(self._work, name))
            except OSError:
                continue  # gone meanwhile, which is a change too
            found[name] = (it.st_ino, it.st_size, it.st_mtime_ns)
        return found

    def open_files(self):
        """Give path and position of every file that was open at the last flush."""
        return self._open

    def _writing(self):
        found = []
        inner = set()
        for value in of_kind(gc.get_objects(), WRITERS):
            if not value.closed and not _compresses(value):
                name = self._name_of(value)
                if name is not None:
                    value.flush()
                    found.append((name, value))
                    inner.update((id(getattr(value, "buffer", 0)), id(getattr(value, "raw", 0))))
        outer = [(name, value) for name, value in found if id(value) not in inner]
        return sorted(outer, key=lambda pair: pair[0])

    def is_written(self, value):
        """Whether something is an open file below the working directory that can be written to."""
        is_open = isinstance(value, WRITERS) and not value.closed
        return is_open and self._name_of(value) is not None

    def _name_of(self, value):
        try:
            if not value.writable() or not isinstance(value.name, (str, bytes)):
                return None
            path = os.path.realpath(os.fsdecode(value.name))
            here, there = os.fstat(value.fileno()), os.stat(path)
            if not stat.S_ISREG(here.st_mode) or here.st_ino != there.st_ino:
                return None
        except (OSError, ValueError, AttributeError):
            return None
        inside = path.startswith(self._work + os.sep)
        return os.path.relpath(path, self._work) if inside else None

    def put_image(self, recorded):
        """Put the files of the snapshot's moment into place, and every open file at its position.

        Raises:
            Diverged: an image is named and missing.
        """
        writing = self._writing()
        if self._image:
            if not os.path.isdir(self._image):
                raise Diverged("the image of the files is missing: %s" % self._image)
            self._replace({name for name, _ in writing} | self._held())
        positions = {}
        for name, position in temporary.translated(recorded):
            positions.setdefault(name, []).append(position)
        for name, file in writing:
            if positions.get(name):
                _move(file, positions[name].pop(0))

    def _held(self):
        """Give the files that anything here holds open or mapped, as data bases and memory maps do."""
        if not os.path.isdir("/proc/self/fd"):
            return set()
        found = {os.path.realpath("/proc/self/fd/" + fd) for fd in os.listdir("/proc/self/fd")}
        with open("/proc/self/maps") as maps:
            found.update(line.rstrip("\n").split(None, 5)[5] for line in maps if "/" in line)
        inside = [path for path in found if path.startswith(self._work + os.sep)]
        return {os.path.relpath(path, self._work) for path in inside if os.path.isfile(path)}

    def _replace(self, opened):
        image = {temporary.translated(name): name for name in _tree(self._image)}
        for name in sorted(set(_tree(self._work)) - set(image) - self._first - opened):
            # Nothing but its beginning is in it, for a replay adds no events; the next ones go there.
            if not outside.is_event_file(name):
                os.unlink(os.path.join(self._work, name))
        for name, there in image.items():
            source = os.path.join(self._image, there)
            target = os.path.join(self._work, name)
            if os.path.islink(source):
                if not os.path.lexists(target):
                    os.makedirs(os.path.dirname(target), exist_ok=True)
                    os.symlink(os.readlink(source), target)
            elif not _equal(source, target):
                _copy(source, target, in_place=name in opened)
                shutil.copystat(source, target)
            else:
                shutil.copystat(source, target)


def _compresses(value):
    """Whether a text goes through an archive: a flush in between would change what that writes."""
    plain = (io.BufferedWriter, io.BufferedRandom)
    return isinstance(value, io.TextIOWrapper) and not isinstance(value.buffer, plain)


def _tree(top):
    found = []
    for directory, names, files in os.walk(top):
        names[:] = [n for n in names if n not in (".git", "__pycache__")]
        links = [n for n in names if os.path.islink(os.path.join(directory, n))]
        found += [os.path.relpath(os.path.join(directory, n), top) for n in files + links]
    return found


def _equal(one, other):
    try:
        if os.path.getsize(one) != os.path.getsize(other):
            return False
        with open(one, "rb") as a, open(other, "rb") as b:
            while True:
                piece = a.read(CHUNK_B)
                if piece != b.read(CHUNK_B):
                    return False
                if not piece:
                    return True
    except OSError:
        return False


def _copy(source, target, in_place):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if in_place:
        with open(source, "rb") as a, open(target, "r+b") as b:
            shutil.copyfileobj(a, b, CHUNK_B)
            b.truncate()
        return
    partial = target + ".vaultlayer"
    shutil.copyfile(source, partial)
    os.replace(partial, target)


def _move(file, position):
    """Move an open file; a text file by its buffer, which after a flush holds nothing."""
    file.flush()
    if os.lseek(file.fileno(), 0, os.SEEK_CUR) != position:
        getattr(file, "buffer", file).seek(position)
