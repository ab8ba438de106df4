"""What the script's own code measures of its machine: recorded, and the same again in a replay.

Memory in use, times between events of a GPU, load, the machine's name: scripts print and keep them, and a
replay on another machine, which computes nothing, would measure something else.
"""

import functools
import sys

from vaultlayer_hooks.ghost import clock
from vaultlayer_hooks.ghost.state import OFF, run

CUDA = (
    "memory_allocated max_memory_allocated memory_reserved max_memory_reserved memory_cached"
    " max_memory_cached memory_stats memory_summary memory_usage mem_get_info list_gpu_processes"
    " utilization temperature power_draw clock_rate"
).split()
PSUTIL = (
    "virtual_memory swap_memory cpu_percent cpu_times cpu_times_percent cpu_count cpu_freq cpu_stats"
    " getloadavg disk_usage disk_io_counters net_io_counters sensors_temperatures boot_time"
).split()
PROCESS = (
    "memory_info memory_full_info memory_percent cpu_percent cpu_times num_threads num_fds"
    " num_ctx_switches io_counters create_time"
).split()
SYSTEM = ("cpu_count", "getloadavg", "times", "sched_getaffinity", "uname")


def patch_torch(torch):
    """Wrap what a GPU tells of itself."""
    _wrap(torch.cuda, CUDA)
    memory = sys.modules.get("torch.cuda.memory")
    for name in CUDA:
        if hasattr(memory, name):
            setattr(memory, name, getattr(torch.cuda, name))
    _wrap(torch.cuda.Event, ("elapsed_time", "query"))
    _wrap(torch.cuda.Stream, ("query",))


def patch_os(module):
    """Wrap what the system tells, and the name of the machine."""
    _wrap(module, SYSTEM)


def patch_socket(module):
    """Wrap the name of the machine."""
    _wrap(module, ("gethostname", "getfqdn"))


def patch_platform(module):
    """Wrap what the machine and its system are called."""
    _wrap(module, ("node", "platform", "uname", "release", "version", "processor", "machine"))


def patch_resource(module):
    """Wrap what this process has used."""
    _wrap(module, ("getrusage",))


def patch_shutil(module):
    """Wrap the room on a disk."""
    # Pickle looks for the class of the answer by this name.
    if hasattr(module, "_ntuple_diskusage"):
        module._ntuple_diskusage.__qualname__ = "_ntuple_diskusage"
    _wrap(module, ("disk_usage",))


def patch_tracemalloc(module):
    """Wrap what Python has allocated."""
    _wrap(module, ("get_traced_memory", "get_tracemalloc_memory"))


def patch_psutil(module):
    """Wrap the machine's figures and the process's."""
    _wrap(module, PSUTIL)
    _wrap(module.Process, PROCESS)


def _wrap(owner, names):
    for name in names:
        original = getattr(owner, name, None)
        if callable(original):
            setattr(owner, name, _measured("measure." + name, original))


def _measured(name, original):
    @functools.wraps(original)
    def measuring(*args, **kwargs):
        if not clock.is_mine(sys._getframe(1)):
            return original(*args, **kwargs)
        import pickle  # which a script that measures nothing need not wait for

        outcome = []

        def read():
            outcome.append(_outcome(original, args, kwargs))
            return _pickled(pickle, name, outcome[0])

        data = clock.recorded(name, read)
        fine, value = (
            pickle.loads(data) if data else (outcome or [_outcome(original, args, kwargs)])[0]
        )
        if fine:
            return value
        raise value

    return measuring


def _outcome(original, args, kwargs):
    run.depth += 1
    try:
        return True, original(*args, **kwargs)
    except Exception as error:
        return False, error
    finally:
        run.depth -= 1


def _pickled(pickle, name, outcome):
    try:
        return pickle.dumps(outcome, 4)
    except Exception:
        if run.mode != OFF:
            run.give_up("what was measured cannot be written down (%s)" % name)
        return b""
