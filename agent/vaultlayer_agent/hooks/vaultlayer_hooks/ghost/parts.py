"""What modules and optimizers consist of, named in the same way in a run and in its replay."""

from vaultlayer_hooks.ghost import addresses, boundary, module_hooks, torchscript
from vaultlayer_hooks.ghost.plain import PLAIN

_MODULE_SKIPPED = frozenset(
    (
        "_parameters",
        "_buffers",
        "_modules",
        "_non_persistent_buffers_set",
        "_is_full_backward_hook",
    )
)
_HOOK_NAMES = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")


def of_module(module):
    """Give `(suffix, thing, holder, name)` of everything in a module."""
    names = vars(module)
    for group in ("_parameters", "_buffers", "_modules"):
        for name, item in list(names.get(group, {}).items()):
            if item is not None:
                yield ".%s" % name, item, None, None
    rest = [(name, item) for name, item in names.items() if name not in _MODULE_SKIPPED]
    yield from _attributes(rest, module)
    if torchscript.is_scripted(module):
        for name, item in torchscript.attributes(module):
            yield ".%s" % name, item, module, name


def of_optimizer(optimizer):
    """Give `(suffix, thing, holder, name)` of everything in an optimizer."""
    for index, group in enumerate(optimizer.param_groups):
        for name, item in group.items():
            if name != "params":
                yield ".groups[%d].%s" % (index, name), item, group, name
    for index, p in enumerate(boundary.parameters_of(optimizer)):
        yield ".p%d" % index, p, None, None
        state = optimizer.state.get(p)
        if state is not None:
            yield ".state%d" % index, state, None, None
    for index, (key, item) in enumerate(list(optimizer.state.items())):
        if type(key) in PLAIN:
            number = index if addresses.is_one(key) else key
            yield ".state[%r]" % number, item, optimizer.state, key
    own = ("param_groups", "state", "defaults", "step")
    rest = [(name, item) for name, item in vars(optimizer).items() if name not in own]
    yield from _attributes(rest, optimizer)


def _attributes(items, holder):
    """Give attributes; of dictionaries of hooks what they hold, whose keys count those of the process."""
    for name, item in items:
        if not name.endswith(_HOOK_NAMES):
            yield ".%s" % name, item, holder, name
        elif name.endswith("_hooks") and isinstance(item, dict):
            for index, hook in enumerate(map(module_hooks.own, list(item.values()))):
                yield ".%s.%d" % (name, index), hook, None, index
