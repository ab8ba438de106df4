"""An independent witness: after each optimizer step, the time and a checksum of some parameters.

Runs in the script's interpreter with and without our hooks, and knows nothing of them: that both runs, and
the run before a kill and after it, leave the same checksums is what a check can show. Standard library only,
Python 3.9 or newer; whatever goes wrong, the script runs as if this file were not there.
"""

import os
import sys
from time import monotonic_ns

PARAMETERS = 8
ELEMENTS = 64
RECORD = "<QI"


class _Finder:
    """Waits for `torch.optim` and registers the witness right after it is imported."""

    def find_spec(self, name, path=None, target=None):  # noqa: ARG002  the protocol's shape
        if name != "torch.optim":
            return None
        sys.meta_path.remove(self)
        import importlib.util

        spec = importlib.util.find_spec(name)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def exec_module(module):
                execute(module)
                try:
                    _register()
                except Exception:
                    pass

            spec.loader.exec_module = exec_module
        return spec


def _register():
    import ctypes
    import struct
    import zlib

    from torch.optim.optimizer import register_optimizer_step_post_hook

    run = os.environ.get("VAULTLAYER_ATTEMPT") or "bare"
    name = "%s-%s-%d" % (run, os.environ.get("RANK", "0"), os.getpid())
    path = os.path.join(os.environ["VAULTLAYER_PROBE_DIR"], name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    file = os.open(path, flags, 0o600)
    pid = os.getpid()

    def note_device(p):
        if not noted:
            noted.append(p.device.type)
            os.close(os.open("%s.%s" % (path, noted[0]), flags, 0o600))

    noted = []

    def digest(optimizer):
        found = [p for group in optimizer.param_groups for p in group["params"]]
        note_device(found[0])
        stride = max(1, len(found) // PARAMETERS)
        sum_ = 0
        for p in found[::stride]:
            flat = getattr(p, "_local_tensor", p).detach().reshape(-1)[:ELEMENTS].cpu().contiguous()
            size_b = flat.numel() * flat.element_size()
            if size_b:
                sum_ = zlib.crc32(ctypes.string_at(flat.data_ptr(), size_b), sum_)
        return sum_

    def stepped(optimizer, args, kwargs):  # noqa: ARG001  the hook's shape
        if os.getpid() != pid:
            return
        try:
            sum_ = digest(optimizer)
        except Exception:
            sum_ = 0
        try:
            os.write(file, struct.pack(RECORD, monotonic_ns(), sum_))
        except Exception:
            pass

    register_optimizer_step_post_hook(stepped)


def _run_next():
    """Run the `sitecustomize` that ours hides; its errors are the user's own."""
    import importlib.util
    from importlib.machinery import PathFinder

    here = os.path.dirname(os.path.realpath(__file__))
    hidden = [path for path in sys.path if _is_like_ours(os.path.realpath(path or "."), here)]
    rest = [path for path in sys.path if path not in hidden]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


def _is_like_ours(path, here):
    """Whether it is this directory, or that of the hooks, which has run already and has called us."""
    return path == here or os.path.isfile(os.path.join(path, "vaultlayer_checkpoint.py"))


if os.environ.get("VAULTLAYER_PROBE_DIR"):
    sys.meta_path.insert(0, _Finder())
_run_next()
