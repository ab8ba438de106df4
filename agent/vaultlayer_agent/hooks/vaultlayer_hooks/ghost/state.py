"""What this process is doing now: one record, read at every patched call."""

import os
import sys
from _thread import get_ident

OFF, RECORD, REPLAY = 0, 1, 2

HOOKS_DIR = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
STDLIB_DIR = os.path.dirname(os.path.abspath(os.__file__))
_PACKAGES = ("site-packages", "dist-packages")


class Diverged(Exception):
    """The replay does not go the way of the recorded run, or its state cannot be trusted."""


class Refused(Exception):
    """A log or snapshot on disk is damaged, or was made by another program."""


class Run:
    """The state of the recording or replay of this process.

    `depth`: how many patched calls are open; only at 0 are calls the script's own. `steps`: boundaries
    passed.
    `started`: whether anything has been recorded that a replay would not compute for real; all before is
    set-up, which a replay executes. `events`: a piece of the recorded log (replay), `cursor` the next one to
    take, `end` how many there are; `more` gives the next piece, `before` is how many earlier ones had.
    """

    def __init__(self):
        self.mode = OFF
        self.depth = 0
        self.main = get_ident()
        self.pid = os.getpid()
        self.torch = None
        self.is_compiling = None
        self.directory = ""
        self.steps = 0
        self.started = False
        self.events = []
        self.cursor = 0
        self.end = 0
        self.before = 0
        self.more = None
        self.tail = None
        self.closures = 0
        self.skipping = 0
        self.opaque = False
        self.failed = False
        self.went_live = False
        self.on_gpu = False
        self.result = None
        self.writer = None
        self.segments_b = []
        self.seeds = []
        self.fingerprint = {}

    def is_ours(self):
        """Whether the call in progress is the script's own, in its main thread."""
        return self.mode != OFF and self.depth == 0 and get_ident() == self.main


run = Run()


def deep(original, args, kwargs):
    """Do a call whose own calls are not the script's."""
    run.depth += 1
    try:
        return original(*args, **kwargs)
    finally:
        run.depth -= 1


_user_files = {}


def is_user_file(name):
    """Whether a source file is the user's own: not of a library, the interpreter, or ours."""
    known = _user_files.get(name)
    if known is None:
        full = os.path.abspath(name) if not name.startswith("<") else name
        library = any(part in full for part in _PACKAGES)
        inside = full.startswith((STDLIB_DIR + os.sep, HOOKS_DIR + os.sep))
        frozen = name.startswith("<frozen")
        known = _user_files[name] = not (library or inside or frozen)
    return known


def is_user_module(name):
    """Whether a module of this name in `sys.modules` is the user's own source."""
    module = sys.modules.get(name)
    path = getattr(module, "__file__", None)
    if name == "__main__":
        return True
    package = getattr(sys.modules.get(name.split(".")[0]), "__file__", None)
    if isinstance(package, str) and not is_user_file(package):
        # Compilers put what they write into a package of theirs, from files anywhere.
        return False
    # Modules that torch makes without a file, as `torch.ops`, name one that is nowhere.
    return (
        isinstance(path, str)
        and os.path.isabs(path)
        and path.endswith(".py")
        and is_user_file(path)
    )


def known_name():
    """Give the name of this process's subdirectory; None for a child, which stays silent."""
    rank = os.environ.get("RANK")
    me = "rank%s" % rank if rank is not None else "main"
    owner = os.environ.get("VAULTLAYER_GHOST_OWNER", "")
    return None if owner.startswith(me + ":") and owner != "%s:%d" % (me, os.getpid()) else me


def process_name():
    """Give what `known_name` gives, and let the children of this process stay silent."""
    me = known_name()
    if me is not None:
        os.environ["VAULTLAYER_GHOST_OWNER"] = "%s:%d" % (me, os.getpid())
    return me
