"""What the text of a training script says: its framework, whether it saves, what it loads. Pure.

Nothing is imported or run. What is built at run time cannot be seen, so the facts are hints and never proof.
"""

import ast
import sys
from collections.abc import Iterable, Mapping
from pathlib import PurePosixPath

import msgspec

from vaultlayer_cli.look.declared import declared_flags
from vaultlayer_cli.look.flags import Flag

FRAMEWORKS = {
    "torch": "torch",
    "torchvision": "torch",
    "lightning": "lightning",
    "pytorch_lightning": "lightning",
    "keras": "keras",
    "tensorflow": "tensorflow",
    "accelerate": "accelerate",
    "jax": "jax",
    "flax": "jax",
    "optax": "jax",
    "orbax": "orbax",
    "deepspeed": "deepspeed",
}
TRAINER_HOMES = frozenset({"transformers", "trl", "unsloth"})
PLAIN = frozenset(
    {
        "numpy",
        "pandas",
        "tqdm",
        "yaml",
        "matplotlib",
        "scipy",
        "PIL",
        "typer",
        "click",
        "fire",
        "absl",
    }
)
"""Packages that train nothing by themselves."""

SAVING = frozenset(
    {
        "save",
        "save_file",
        "save_checkpoint",
        "save_state",
        "save_pretrained",
        "save_model",
        "save_weights",
    }
)
LOADING = frozenset(
    {"load", "load_file", "load_checkpoint", "load_state", "restore", "restore_checkpoint"}
)
STEPPING = frozenset({"backward", "step", "fit", "train", "minimize", "train_batch"})
GRADIENTS = frozenset({"torch.autograd.grad", "torch.func.grad", "torch.func.grad_and_value"})
SPAWNING = frozenset({"spawn", "start_processes"})
ONLINE = ("GRPO", "RLOO", "PPO", "OnlineDPO", "XPO", "NashMD")
SETTINGS = frozenset(
    {"save_strategy", "save_only_model", "ignore_data_skip", "resume_from_checkpoint"}
)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a script and of the local files that it imports.

    `frameworks`: values of `FRAMEWORKS`, `hf` for the HF Trainer, and `keras-torch` where the text chooses
    torch for Keras. `strange`: imported packages that may
    do the training themselves. `saves`: `loop`, `end` or "". `saver`: the call that saves.
    `reloads`: it reads its own saves without being told to. `steps`: it trains in its own text.
    `spawns`: it trains in children that it starts. `settings`: keyword arguments of the Trainer, as they
    stand.
    """

    frameworks: frozenset[str] = frozenset()
    strange: frozenset[str] = frozenset()
    saves: str = ""
    saver: str = ""
    reloads: bool = False
    steps: bool = False
    spawns: bool = False
    online: bool = False
    settings: dict[str, str] = {}
    flags: list[Flag] = []


def facts_of(texts: Mapping[str, str]) -> Facts:
    """Read the facts from Python texts, by file name; the script's own comes first.

    Raises:
        SyntaxError: a text is no Python of this version.
    """
    trees = [ast.parse(text, name) for name, text in texts.items()]
    local = {PurePosixPath(name).stem for name in texts} | {
        part for name in texts for part in PurePosixPath(name).parts[:-1]
    }
    return _Reader(trees, local).facts()


def imports_of(tree: ast.AST) -> list[tuple[str, int, tuple[str, ...]]]:
    """Give each import as (module, level, names)."""
    found: list[tuple[str, int, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0, ()) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            found.append((node.module or "", node.level, names))
    return found


class _Reader:
    def __init__(self, trees: list[ast.Module], local: set[str]) -> None:
        self._trees = trees
        self._local = local
        self._calls = [node for node in _walk(trees) if isinstance(node, ast.Call)]
        self._looped = _called_in_loops(trees)

    def facts(self) -> Facts:
        frameworks, strange = self._frameworks()
        saves, saver = self._saves()
        names = {_last(call.func) for call in self._calls}
        dotted = {_dotted(call.func) for call in self._calls}
        return Facts(
            frameworks=frozenset(frameworks),
            strange=frozenset(strange),
            saves=saves,
            saver=saver,
            reloads=self._reloads(frameworks),
            steps=bool(names & STEPPING or dotted & GRADIENTS) or self._takes_gradients(),
            spawns=bool(names & SPAWNING),
            online=any(name.startswith(ONLINE) and name.endswith("Trainer") for name in names),
            settings=self._settings(),
            flags=[flag for tree in self._trees for flag in declared_flags(tree)],
        )

    def _frameworks(self) -> tuple[set[str], set[str]]:
        found: set[str] = set()
        strange: set[str] = set()
        for tree in self._trees:
            for module, level, names in imports_of(tree):
                top = module.partition(".")[0]
                if level or top in self._local or top in sys.stdlib_module_names:
                    continue
                if top in FRAMEWORKS:
                    found.add(FRAMEWORKS[top])
                elif top not in TRAINER_HOMES | PLAIN:
                    strange.add(top)
                if top in TRAINER_HOMES:
                    found.add("torch")
                    found |= {"hf"} if any(name.endswith("Trainer") for name in names) else set()
                if module.startswith("torch.distributed.checkpoint") or "checkpoint" in names:
                    found |= {"dcp"} if module.startswith("torch.distributed") else set()
        if any(_dotted(call.func) == "transformers.Trainer" for call in self._calls):
            found.add("hf")
        if "keras" in found and any(map(_chooses_torch, _walk(self._trees))):
            found.add("keras-torch")
        return found, strange

    def _takes_gradients(self) -> bool:
        """Whether it has imported what makes gradients in `torch.func`."""
        wanted = {name.rpartition(".")[2] for name in GRADIENTS}
        imports = [one for tree in self._trees for one in imports_of(tree)]
        return any(module == "torch.func" and wanted & {*names} for module, _, names in imports)

    def _saves(self) -> tuple[str, str]:
        best, saver = "", ""
        for tree in self._trees:
            for call, is_looped in _looped_calls(tree, self._looped):
                name = _last(call.func)
                is_keeper = name in {"ModelCheckpoint", "BackupAndRestore"}
                if not is_keeper and (name not in SAVING or _is_image(call.func)):
                    continue
                when = "loop" if is_looped or is_keeper else "end"
                if best != "loop":
                    best, saver = when, _dotted(call.func) or name
        return best, saver

    def _reloads(self, frameworks: set[str]) -> bool:
        """Whether it reads what it saved without a flag: fills an optimizer from a file that it names."""
        restored = any(
            _last(call.func) == "load_state_dict" and "opt" in _dotted(call.func).lower()
            for call in self._calls
        )
        managed = bool({"orbax", "dcp"} & frameworks)
        for call in self._calls:
            if _last(call.func) in LOADING and (restored or managed):
                told = call.args[0] if call.args else None
                if told is None or not _is_told(told):
                    return True
        return False

    def _settings(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for call in self._calls:
            for keyword in call.keywords:
                if keyword.arg in SETTINGS and isinstance(keyword.value, ast.Constant):
                    found[keyword.arg] = str(keyword.value.value)
        return found


def _walk(trees: Iterable[ast.Module]) -> Iterable[ast.AST]:
    for tree in trees:
        yield from ast.walk(tree)


def _looped_calls(tree: ast.AST, looped: set[str]) -> list[tuple[ast.Call, bool]]:
    """Give every call, and whether it may come more than once: in a loop, or in a function called in one."""
    found: list[tuple[ast.Call, bool]] = []

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            inside = node.name in looped
        elif isinstance(node, ast.For | ast.While | ast.AsyncFor):
            inside = True
        elif isinstance(node, ast.Call):
            found.append((node, inside))
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, inside=False)
    return found


def _called_in_loops(trees: list[ast.Module]) -> set[str]:
    """Give the names of functions that are called in a loop, or by one that is."""
    looped: set[str] = set()
    while True:
        found = {
            _last(call.func)
            for tree in trees
            for call, inside in _looped_calls(tree, looped)
            if inside
        }
        if found <= looped:
            return looped
        looped |= found


def _last(node: ast.AST) -> str:
    """Give the last name of what is called."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _dotted(node: ast.AST) -> str:
    """Give the whole name of what is called, "" when it is no plain one."""
    if isinstance(node, ast.Attribute):
        head = _dotted(node.value)
        return f"{head}.{node.attr}" if head else node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _chooses_torch(node: ast.AST) -> bool:
    """Whether a piece of text sets `KERAS_BACKEND` to torch."""
    if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Subscript):
        parts = [node.targets[0].slice, node.value]
    else:
        parts = node.args[:2] if isinstance(node, ast.Call) else []
    held = [part.value for part in parts if isinstance(part, ast.Constant)]
    return held == ["KERAS_BACKEND", "torch"]


def _is_image(node: ast.AST) -> bool:
    """Whether a save is one of figures, pictures or plain data."""
    name = _dotted(node).lower()
    words = (
        "json.",
        "yaml.",
        "img",
        "image",
        "fig",
        "plt.",
        "np.",
        "numpy.",
        "pickle.",
        "csv",
        "joblib",
    )
    return any(word in name for word in words)


def _is_told(node: ast.AST) -> bool:
    """Whether a path comes from the command line."""
    heads = {"args", "opt", "opts", "cfg", "config", "hparams", "FLAGS", "flags", "options"}
    return any(isinstance(part, ast.Name) and part.id in heads for part in ast.walk(node))
