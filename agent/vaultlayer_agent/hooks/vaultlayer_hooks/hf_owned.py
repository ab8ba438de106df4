"""Where a Trainer script may keep something between its steps that the Trainer's checkpoints do not hold.

Attributes of its callbacks, subclasses, data, collators, samplers and optimizers; what its functions close
over; globals of its modules; and of the model all that is no parameter and no buffer that is saved.
"""

import dataclasses
import dis
import sys
from types import FunctionType, ModuleType

from vaultlayer_hooks import hf_marks
from vaultlayer_hooks.ghost.state import is_user_module
from vaultlayer_hooks.hf_marks import CLOSED, LIBRARIES, PLAIN, Walk, root_of

PASSING = frozenset(("training", "warnings_issued", "epoch"))
"""What each step or pass sets anew, from what is in the checkpoints."""
FUNCTIONS = ("compute_loss_func", "compute_metrics", "preprocess_logits_for_metrics", "model_init")
SEEDED = ("SequentialSampler", "_InfiniteConstantSampler")
"""Samplers without `set_epoch` whose order is the same in every pass."""
MODULES_MOST = 2000

_stored = {}


def marks_of(trainer):
    """Give a mark of everything of the kind, by a name that a person would find it by."""
    walk = Walk(_known(trainer))
    found = {name: walk.mark(value) for name, value in _own(trainer).items()}
    found.update(_of_model(trainer.model, walk))
    found.update((name, walk.mark(value)) for name, value in _of_functions(trainer).items())
    found.update(_of_globals(walk))
    return found


def data_marks_of(trainer, with_globals=False):
    """Give such marks of what its batches come from; in a worker nobody else looks at the globals."""
    walk = Walk(_known(trainer))
    found = {name: walk.mark(value) for name, value in _data(trainer).items()}
    found.update(_of_globals(walk) if with_globals else ())
    return found


def tensors_of(trainer):
    """Give marks of the tensors that callbacks and subclasses hold, and of nothing else."""
    walk = Walk(_known(trainer), only_tensors=True)
    marks = {name: walk.mark(value) for name, value in _own(trainer).items()}
    return {name: mark for name, mark in marks.items() if mark}


def _known(trainer):
    """Give the ids of what the checkpoints hold; a buffer that is not saved is not among it."""
    known = {id(trainer), id(trainer.model), id(trainer.args), id(trainer.state)}
    known |= {id(trainer.control), id(trainer.callback_handler)}
    return known | {id(tensor) for tensor in _saved(trainer.model)}


def is_users(cls):
    """Whether a class is the script's own, or of a library that is not built on the Trainer's."""
    return root_of(cls) not in CLOSED


def is_users_module(name):
    """Whether a module is the script's own; the Trainer's may lie anywhere (`pip install --target`)."""
    return name.split(".")[0] not in LIBRARIES and is_user_module(name)


def has_own(trainer):
    """Whether any code of the script's own runs in the training."""
    parts = [*trainer.callback_handler.callbacks, *trainer.model.modules()]
    parts += [part for part in _data(trainer).values() if not isinstance(part, FunctionType)]
    if any(is_users(type(part)) for part in parts) or is_users(type(trainer)):
        return True
    functions = [*_of_functions(trainer).values(), *_data(trainer).values()]
    return any(isinstance(each, FunctionType) and root_of(each) not in CLOSED for each in functions)


def _own(trainer):
    stored = _stored_by_libraries(type(trainer))
    own = [*_of_classes(type(trainer)), *vars(trainer).items()]
    kind = type(trainer).__name__
    found = {"%s.%s" % (kind, name): value for name, value in own if name not in stored}
    for callback in trainer.callback_handler.callbacks:
        found.update(_of_callback(callback))
    for part in (trainer.state, trainer.control):
        fields = {field.name for field in dataclasses.fields(part)}
        found.update(("state.%s" % n, v) for n, v in vars(part).items() if n not in fields)
    for name, value in vars(trainer.args).items():
        if not name.startswith("_") and isinstance(value, PLAIN):
            found["args.%s" % name] = value
    found.update(_of_optimizer(trainer))
    return found


def _of_callback(callback):
    cls = type(callback)
    if root_of(cls) == "transformers":
        return {}
    exported = _exported(callback)
    own = [*_of_classes(cls), *getattr(callback, "__dict__", {}).items()]
    return {"%s.%s" % (cls.__name__, name): v for name, v in own if name not in exported}


def _of_classes(cls):
    """Give the attributes of the script's own classes; of functions, what they keep."""
    return [
        item
        for base in cls.__mro__
        if is_users(base)
        for item in vars(base).items()
        if not item[0].startswith("__") and not isinstance(item[1], property)
    ]


def _of_optimizer(trainer):
    """Give what an optimizer of the script's own keeps beside its state, and the functions of its rate."""
    found = {}
    optimizer = getattr(trainer, "optimizer", None)
    optimizer = getattr(optimizer, "optimizer", optimizer)
    if optimizer is not None and is_users_module(type(optimizer).__module__):
        stored = _stored_by_libraries(type(optimizer))
        for name, value in [*_of_classes(type(optimizer)), *vars(optimizer).items()]:
            if name not in stored and name not in ("state", "param_groups", "defaults"):
                found["%s.%s" % (type(optimizer).__name__, name)] = value
    scheduler = getattr(trainer, "lr_scheduler", None)
    scheduler = getattr(scheduler, "scheduler", scheduler)
    for number, function in enumerate(getattr(scheduler, "lr_lambdas", ())):
        found["the function of the learning rate %d" % number] = function
    return found


def _exported(callback):
    """Give the names of what a stateful callback puts into the checkpoints."""
    exportable = any(cls.__name__ == "ExportableState" for cls in type(callback).__mro__)
    state = callback.state() if exportable else {}
    return set(state.get("attributes", ())) | set(state.get("args", ()))


def _stored_by_libraries(cls):
    """Give the name of every attribute that the library's part of a class sets."""
    names = _stored.get(cls)
    if names is None:
        names = _stored[cls] = set()
        for base in cls.__mro__:
            if root_of(base) in LIBRARIES:
                for member in vars(base).values():
                    member = getattr(member, "fget", None) or getattr(member, "__func__", member)
                    member = getattr(member, "__wrapped__", member)
                    if isinstance(member, FunctionType):
                        _stored_in(member.__code__, names)
    return names


def _stored_in(code, names):
    names.update(i.argval for i in dis.get_instructions(code) if i.opname == "STORE_ATTR")
    for inner in code.co_consts:
        if isinstance(inner, type(code)):
            _stored_in(inner, names)


def _of_model(model, walk):
    found = {
        "the choice of weights that are trained": [p.requires_grad for p in model.parameters()],
        "a tensor of the model that is not saved": [walk.mark(t) for t in _unsaved(model)],
    }
    for path, module in list(model.named_modules())[:MODULES_MOST]:
        cls = type(module)
        users = is_users_module(cls.__module__)
        if users or root_of(cls) in LIBRARIES:
            for name, value in vars(module).items():
                own = name not in PASSING and name not in _base_names()
                if own and (users or (isinstance(value, PLAIN) and not name.startswith("_"))):
                    found[".".join(filter(None, (path, name)))] = walk.mark(value)
        hooks = [*module._forward_hooks.values(), *module._forward_pre_hooks.values()]
        # Libraries put theirs in and out.
        hooks = [hook for hook in hooks if root_of(hook) not in CLOSED]
        if hooks:
            found["what a hook of %s keeps" % (path or "the model")] = walk.mark(hooks)
    return found


def _base_names():
    """Give the names that every module has."""
    torch = sys.modules["torch"]
    if torch not in _stored:
        _stored[torch] = frozenset(vars(torch.nn.Module()))
    return _stored[torch]


def _saved(model):
    """Give the tensors that a checkpoint holds: of an adapted model its adapters alone."""
    if hasattr(model, "peft_config"):
        return [p for p in model.parameters() if p.requires_grad]
    lasting = [
        buffer
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and name not in module._non_persistent_buffers_set
    ]
    return [*model.parameters(), *lasting]


def _unsaved(model):
    saved = {id(tensor) for tensor in _saved(model)}
    return [tensor for tensor in hf_marks.tensors_of(model) if id(tensor) not in saved]


def _of_functions(trainer):
    return {
        name: value for name in FUNCTIONS if (value := getattr(trainer, name, None)) is not None
    }


def _of_globals(walk):
    """Give the marks of what the script's own modules hold."""
    found = {}
    for module in [name for name in list(sys.modules) if is_users_module(name)]:
        for name, value in list(vars(sys.modules[module]).items()):
            if name.startswith("__") or isinstance(value, ModuleType):
                continue
            if isinstance(value, type):
                if value.__module__ == module:
                    for attribute, held in _of_classes(value):
                        found["%s.%s of %s" % (name, attribute, module)] = walk.mark(held)
            else:
                found["%s of %s" % (name, module)] = walk.mark(value)
    return found


def _data(trainer):
    """Give what the batches of a training come from."""
    loader = trainer.callback_handler.train_dataloader
    found = {"the data collator": trainer.data_collator}
    for name, value in getattr(trainer.data_collator, "__dict__", {}).items():
        found["%s.%s" % (type(trainer.data_collator).__name__, name)] = value
    for data in (getattr(loader, "dataset", None), trainer.train_dataset):
        if is_users(type(data)):
            for name, value in [*_of_classes(type(data)), *getattr(data, "__dict__", {}).items()]:
                found["%s.%s" % (type(data).__name__, name)] = value
        else:
            found["the dataset"] = data
    for sampler in samplers_of(loader):
        if is_users(type(sampler)):
            for name, value in vars(sampler).items():
                if name not in PASSING:
                    found["%s.%s" % (type(sampler).__name__, name)] = value
    return found


def samplers_of(loader):
    """Give the samplers of a loader, the outermost first."""
    found, at = [], loader
    for _ in range(hf_marks.DEPTH_MOST):
        inner = getattr(at, "batch_sampler", None)
        at = getattr(at, "sampler", None) if inner is None else inner
        if at is None:
            break
        found.append(at)
    return found


def unseeded_sampler(loader):
    """Give the name of a sampler whose order in a later pass may hang on what was drawn before, or ""."""
    for sampler in samplers_of(loader)[-1:]:
        names = [cls.__name__ for cls in type(sampler).__mro__]
        if not hasattr(sampler, "set_epoch") and not any(name in SEEDED for name in names):
            return names[0]
    return ""
