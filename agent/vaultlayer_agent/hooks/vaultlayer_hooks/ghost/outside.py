"""What reaches out of the process: done by the run that was recorded, and not again by its replay.

What a command printed that the script's loop has run, and what `requests` has answered, is recorded and given
again. Trackers are kept quiet until a replay goes live. A process that nobody waits for, and a connection
made by hand, cannot be given again: there the recording ends, and it is told.
"""

import functools
import os
import pickle
import sys
import weakref
from _thread import get_ident

from vaultlayer_hooks.ghost import log
from vaultlayer_hooks.ghost.state import OFF, REPLAY, STDLIB_DIR, is_user_file, run

COMMANDS = ("run", "call", "check_call", "check_output", "getoutput", "getstatusoutput")
CARRIERS = ("/requests/", "/urllib3/")
WANDB = ("log", "log_artifact", "log_code", "log_model", "save", "alert")
MLFLOW = (
    "log_metric log_batch log_param log_artifact log_artifacts log_dict log_text log_figure log_image"
    " log_table log_inputs log_model set_tag delete_tag"
).split()
EVENT_FILE = "events.out.tfevents."
_writers = weakref.WeakSet()


def _in_loop():
    """Whether the script itself, past its set-up, makes this call; libraries may do what they like."""
    if run.mode == OFF or not run.started or run.depth or get_ident() != run.main:
        return False
    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        standard = name.startswith(STDLIB_DIR) and "site-packages" not in name
        if not standard and not any(part in name for part in CARRIERS):
            return is_user_file(name)
        frame = frame.f_back
    return False


def _cannot(what):
    run.give_up("the script's loop %s, which a replay would do again" % what)


def _recorded(kind, original):
    """Wrap a call whose outcome is recorded, an error too."""

    @functools.wraps(original)
    def calling(*args, **kwargs):
        if not _in_loop():
            return original(*args, **kwargs)
        if run.mode == REPLAY:
            return _give(log.take(kind))
        run.depth += 1
        try:
            outcome = (True, original(*args, **kwargs))
        except Exception as error:
            outcome = (False, error)
        finally:
            run.depth -= 1
        return _give(_noted(kind, outcome))

    return calling


def _noted(kind, outcome):
    """Record an outcome; give the one that the script shall go on with, pickled."""
    try:
        data = pickle.dumps(outcome, 4)
    except Exception:
        _cannot("asks for what cannot be written down (%s)" % kind)
        raise
    wanted = run.tail.peek() if run.tail is not None else None
    if wanted is not None and wanted[0] == kind:
        # It had to be done again, but the dead run has gone on with what it was told.
        data = wanted[1]
    log.note(kind, data)
    return data


def _give(data):
    fine, value = pickle.loads(data)
    if fine:
        return value
    raise value


def patch_subprocess(module):
    """Record what commands give; a process that runs on beside the loop cannot be."""
    for name in COMMANDS:
        setattr(module, name, _recorded("command", getattr(module, name)))
    os.system = _recorded("command", os.system)
    original = module.Popen.__init__

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        if _in_loop():
            _cannot("starts a process and does not wait for it")
        original(self, *args, **kwargs)

    module.Popen.__init__ = __init__


def patch_requests(module):
    """Record answers."""
    module.Session.request = _recorded("request", module.Session.request)


def patch_socket(module):
    """Connections of the loop's own, by whatever library of the interpreter, cannot be made again."""
    original = module.socket.connect

    def connect(self, address):
        if _in_loop():
            _cannot("opens a connection")
        return original(self, address)

    module.socket.connect = connect


# Trackers ---------------------------------------------------------------------------------------------


def _quiet(original):
    @functools.wraps(original)
    def telling(*args, **kwargs):
        return None if run.mode == REPLAY else original(*args, **kwargs)

    return telling


def _hush(cls, names):
    for name in names:
        if hasattr(cls, name):
            setattr(cls, name, _quiet(getattr(cls, name)))


def patch_wandb(module):
    """Weights & Biases: a replay logs nothing."""
    _hush(module.Run, WANDB)


def patch_mlflow(module):
    """MLflow: a replay logs nothing."""
    _hush(module.MlflowClient, MLFLOW)


def patch_event_files(module):
    """TensorBoard: a replay adds no events, and what is on its way is flushed before a snapshot."""
    cls = module.EventFileWriter
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        original(self, *args, **kwargs)
        _writers.add(self)

    cls.__init__ = __init__
    _hush(cls, ("add_event",))


def patch_summaries(module):
    """A writer that names its directory by the clock gets the same one again."""
    cls = module.SummaryWriter
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self, log_dir=None, *args, **kwargs):
        if log_dir or not run.is_ours():
            original(self, log_dir, *args, **kwargs)
        elif run.mode == REPLAY:
            original(self, log.take("log_dir"), *args, **kwargs)
        else:
            original(self, log_dir, *args, **kwargs)
            log.note("log_dir", str(self.log_dir))

    cls.__init__ = __init__


def flush():
    """Flush what trackers keep back."""
    for writer in list(_writers):
        writer.flush()


def is_event_file(name):
    """Whether a file is one of those that each process begins anew."""
    return os.path.basename(name).startswith(EVENT_FILE)
