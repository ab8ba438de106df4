"""Begins a recording or a replay, right after the script has imported torch."""

import atexit
import hashlib
import importlib
import os
import sys

from vaultlayer_hooks import channel
from vaultlayer_hooks.ghost import (
    calls,
    clock,
    early,
    escapes,
    loaders,
    log,
    measures,
    memory,
    module_hooks,
    names,
    optimizer_hooks,
    optimizers,
    proof,
    pulse,
    ranks,
    rng,
    seeds,
    serialized,
    shapes,
    staging,
    tensor_hooks,
    torchscript,
    transforms,
    vls,
)
from vaultlayer_hooks.ghost.constants import Constants
from vaultlayer_hooks.ghost.files import Files
from vaultlayer_hooks.ghost.imported import Imported
from vaultlayer_hooks.ghost.mute import Mute
from vaultlayer_hooks.ghost.recorded import SEED, Recorded
from vaultlayer_hooks.ghost.session import Session
from vaultlayer_hooks.ghost.state import OFF, RECORD, REPLAY, Refused, process_name, run

UNORDERED = pulse.KINDS | {SEED}
NEEDED = ("torch.amp", "torch.nn.utils", "torch.optim.lr_scheduler", "torch.utils.data.dataloader")
LAUNCHERS = frozenset(("torchrun", "accelerate", "deepspeed"))


def fingerprint(torch):
    """Give what must be the same for a replay to make sense."""
    script = getattr(sys.modules.get("__main__"), "__file__", None) or ""
    try:
        with open(script, "rb") as file:
            content = hashlib.sha256(file.read()).hexdigest()
    except OSError:
        content = ""
    numpy = sys.modules.get("numpy")
    device = torch.cuda.get_device_name(0) if torch.cuda.is_available() else "cpu"
    return {
        "script": content,
        "argv": hashlib.sha256("\0".join(sys.argv).encode()).hexdigest(),
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "numpy": str(getattr(numpy, "__version__", "")),
        "world": os.environ.get("WORLD_SIZE", "1"),
        "device": device,
    }


def is_launcher():
    """Whether this process only starts others that train."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    module = getattr(spec, "name", None) or _module_of_command()
    words = module.startswith(("torch.distributed.", "accelerate.", "deepspeed."))
    return words or os.path.basename(sys.argv[0]) in LAUNCHERS


def _module_of_command():
    """Give what `-m` names: it imports torch before it is the main module."""
    if sys.argv[:1] != ["-m"]:
        return ""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().decode(errors="replace").split("\0")
    except OSError:
        return ""
    after = [word for flag, word in zip(words, words[1:]) if flag == "-m"]
    return after[0] if after else ""


def start(torch):
    """Begin."""
    top = os.environ.get("VAULTLAYER_GHOST_DIR")
    name = process_name() if top and not is_launcher() else None
    if name is None or run.mode != OFF or run.torch is not None:
        return
    run.torch = torch
    if not hasattr(torch, "compiler"):
        raise RuntimeError("torch %s is older than 2.1" % torch.__version__)
    try:
        _begin(torch, os.path.join(top, name))
    except Exception:
        run.mode = OFF
        raise


def _begin(torch, directory):
    os.makedirs(directory, exist_ok=True)
    session = Session(directory, os.environ.get("VAULTLAYER_GHOST_EVERY", ""))
    run.is_compiling = getattr(torch.compiler, "is_compiling", None) or _compiling_until_2_2(torch)
    run.directory = directory
    run.begin = session.begin
    run.recorded_step = session.recorded_step
    run.replayed_step = session.replayed_step
    run.diverge = session.diverge
    run.verified = session.verified
    run.give_up = session.give_up
    run.snapshot_soon = session.snapshot_soon
    run.constants = Constants()
    run.imported = Imported()
    run.files = Files()
    run.proof = proof.Proof()
    run.pulse = pulse.Pulse()
    run.staging = staging.Staging()
    run.on_gpu = torch.cuda.is_available()
    run.fingerprint = fingerprint(torch)
    for name in NEEDED:
        importlib.import_module(name)

    escapes.patch(torch)
    shapes.patch(torch)
    calls.patch(torch)
    transforms.patch(torch)
    module_hooks.patch(torch)
    tensor_hooks.patch(torch)
    optimizers.patch(torch)
    optimizer_hooks.patch(torch)
    loaders.patch(torch)
    ranks.patch(torch)
    memory.patch(torch)
    serialized.patch(torch)
    clock.patch_torch(torch)
    torchscript.patch()
    measures.patch_torch(torch)
    staging.patch(torch)
    names.settle_torch(torch)
    if os.environ.get("VAULTLAYER_GHOST_MODE") == "replay":
        _start_replay(session)
    else:
        run.writer = log.Writer(directory, 0, 0)
        run.mode = RECORD
        log.note("start", (seeds.began(), rng.torch_state(), early.kept()))
        channel.tell("ghost", framework="ghost", detail="recording")
    atexit.register(session.end)
    os.register_at_fork(after_in_child=_fall_silent)


def _compiling_until_2_2(torch):
    """Whether something is compiled; while AOT autograd traces, only modes of its own tell so."""
    traced, modes = torch._utils.is_compiling, torch._C._len_torch_dispatch_stack
    return lambda: traced() or modes() > 0


def _fall_silent():
    run.mode = OFF


def _start_replay(session):
    try:
        _load(session)
    except Refused as reason:
        session.diverge("refused: %s" % reason)
    _, torch_state, _ = log.take("start")
    rng.set_torch_state(torch_state)
    step = session.reader.index["step"]
    channel.tell("replay", framework="ghost", step=step, detail="to step %d" % step)
    run.files.begin_replay()
    session.mute = Mute()
    run.mode = REPLAY
    _wrap_excepthook(session)


def _load(session):
    number = os.environ.get("VAULTLAYER_GHOST_SNAPSHOT") or newest(session.directory)
    if not number:
        raise Refused("there is no snapshot")
    reader = vls.Reader(os.path.join(session.directory, vls.snapshot_name(int(number))))
    index = reader.index
    for name, value in run.fingerprint.items():
        if index["fingerprint"].get(name) != value:
            old = index["fingerprint"].get(name)
            raise Refused("%s is not what it was: %s, and was %s" % (name, value, old))
    recorded = Recorded(session.directory, index["number"], UNORDERED)
    if recorded.count != index["events"]:
        raise Refused("the log does not belong to the snapshot")
    run.seeds, run.more = recorded.seeds, recorded.more
    log.refill()
    session.tail_events = log.read_segment(session.directory, index["number"], closed=False)
    session.reader = reader


def newest(directory):
    """Give the highest number of a snapshot that this process and every other rank has, or 0."""
    top, name = os.path.split(directory)
    every = [directory]
    if name.startswith("rank"):
        every = [os.path.join(top, n) for n in os.listdir(top) if n.startswith("rank")]
    return max(set.intersection(*[_numbers(each) for each in every]) or {0})


def _numbers(directory):
    names = [n for n in os.listdir(directory) if n.startswith("snap-") and n.endswith(".vls")]
    return {int(name[5:-4]) for name in names}


def _wrap_excepthook(session):
    original = sys.excepthook

    def excepthook(kind, value, trace):
        if run.mode == REPLAY:
            run.failed = True
            reason = "the script raised %s in the replay: %s" % (kind.__name__, value)
            session.mute.off()
            original(kind, value, trace)
            session.diverge(reason)
        original(kind, value, trace)

    sys.excepthook = excepthook
