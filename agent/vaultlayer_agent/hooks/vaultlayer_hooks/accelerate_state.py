"""accelerate: tells what `save_state` writes, and keeps its numbered names from clashing after a restart.

With automatic names the counter starts at 0 in every process, and `save_state` raises when `checkpoint_0` is
there already, as it is once the job's files are back in place. So the first save of a restarted job that has
not loaded anything goes on counting after the highest number (measured with 1.15).
"""

import functools
import os
import re

from vaultlayer_hooks import channel, native, saves

NAME = re.compile(r"^checkpoint_(\d+)$")


def patch(module):
    """Wrap `Accelerator.save_state` and `load_state`."""
    cls = module.Accelerator
    if not getattr(cls.save_state, "vaultlayer", False):
        cls.save_state = _saving(cls.save_state)
        cls.load_state = _loading(cls.load_state)


def _saving(original):
    @functools.wraps(original)
    def save_state(self, output_dir=None, *args, **kwargs):
        path = native.guard("accelerate", _path_of, self, output_dir)
        if path is None:
            return original(self, output_dir, *args, **kwargs)
        with saves.Whole(path, "accelerate"):
            return original(self, output_dir, *args, **kwargs)

    save_state.vaultlayer = True
    return save_state


def _path_of(accelerator, output_dir):
    """Give where a save goes, after moving the counter past what is there."""
    project = accelerator.project_configuration
    if not project.automatic_checkpoint_naming:
        return None if output_dir is None else saves.path_of(output_dir)
    folder = os.path.join(os.path.abspath(accelerator.project_dir), "checkpoints")
    if native.is_restart():
        _skip(project, folder)
    return os.path.join(folder, "checkpoint_%d" % accelerator.save_iteration)


def _skip(project, folder):
    here = os.path.join(folder, "checkpoint_%d" % project.iteration)
    # Every rank counts for itself; what this run has saved is counted already, so only old names are met.
    if not os.path.exists(here):
        return
    numbers = [int(match.group(1)) for match in map(NAME.match, os.listdir(folder)) if match]
    project.iteration = max(numbers) + 1


def _loading(original):
    @functools.wraps(original)
    def load_state(self, input_dir=None, *args, **kwargs):
        path = native.guard("accelerate", _loaded_from, self, input_dir)
        if path is not None:
            channel.tell("loaded", path=path)
        return original(self, input_dir, *args, **kwargs)

    return load_state


def _loaded_from(accelerator, input_dir):
    if input_dir is not None:
        return saves.path_of(input_dir)
    folder = os.path.join(os.path.abspath(accelerator.project_dir), "checkpoints")
    numbers = [int(match.group(1)) for match in map(NAME.match, os.listdir(folder)) if match]
    return os.path.join(folder, "checkpoint_%d" % max(numbers)) if numbers else None
