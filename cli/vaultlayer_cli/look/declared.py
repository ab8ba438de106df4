"""The flags that a script declares, by argparse, click, absl, typer, fire, dataclasses or globals. Pure."""

import ast
from collections.abc import Iterator

from vaultlayer_cli.look.flags import Flag

_DEFINES = {
    "DEFINE_string": "",
    "DEFINE_enum": "",
    "DEFINE_bool": "switch",
    "DEFINE_boolean": "switch",
    "DEFINE_integer": "number",
}
_SWITCHES = frozenset({"store_true", "store_const"})


def declared_flags(tree: ast.Module) -> list[Flag]:
    """Give the flags that a text declares, in its order."""
    found = [flag for node in ast.walk(tree) for flag in _of_node(node)]
    return [*found, *_of_entries(tree), *_of_globals(tree)]


def _of_node(node: ast.AST) -> Iterator[Flag]:
    if isinstance(node, ast.Call):
        name = _called(node)
        if name in {"add_argument", "option"}:
            yield from _of_option(node)
        elif name in _DEFINES and (spelled := _text(node.args[0] if node.args else None)):
            yield _flag(f"--{spelled}", _DEFINES[name], _choices(node), joined=True)
    elif isinstance(node, ast.ClassDef) and _is_dataclass(node):
        for field in node.body:
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                yield _flag(f"--{field.target.id}", _kind_of(field.annotation))


def _of_option(node: ast.Call) -> Iterator[Flag]:
    spelled = [text for text in map(_text, node.args) if text.startswith("-")]
    if not spelled:
        return
    named = {keyword.arg: keyword.value for keyword in node.keywords}
    is_switch = (
        _text(named.get("action")) in _SWITCHES
        or _truth(named.get("is_flag"))
        or any("/" in text for text in spelled)
    )
    kind = "switch" if is_switch else _kind_of(named.get("type"))
    longest = max((text.partition("/")[0] for text in spelled), key=len)
    # A `type=bool` of argparse takes a value, and takes any for true.
    if kind == "switch" and not is_switch and _called(node) == "add_argument":
        return
    yield _flag(longest, kind, _choices(node))


def _of_entries(tree: ast.Module) -> Iterator[Flag]:
    """Read the parameters of functions that typer or fire make commands of."""
    fired = {
        _name(node.args[0])
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and node.args and _called(node) in {"Fire", "run", "CLI"}
    }
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef):
            continue
        is_command = any(_called(mark) == "command" for mark in node.decorator_list)
        if not is_command and node.name not in fired:
            continue
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            word = argument.arg if node.name in fired else argument.arg.replace("_", "-")
            yield _flag(f"--{word}", _kind_of(argument.annotation), joined=node.name in fired)


def _of_globals(tree: ast.Module) -> Iterator[Flag]:
    """Read module-level settings where the text runs a `configurator.py`, as nanoGPT does."""
    if "configurator" not in ast.dump(tree):
        return
    choices = tuple(_compared(tree, "init_from"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            yield Flag(
                spelling=f"--{name}", choices=choices if name == "init_from" else (), joined=True
            )


def _compared(tree: ast.AST, name: str) -> Iterator[str]:
    """Give the texts that a name is compared with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and _name(node.left).rpartition(".")[2] == name:
            yield from filter(None, map(_text, node.comparators))


def _flag(spelling: str, kind: str, choices: tuple[str, ...] = (), *, joined: bool = False) -> Flag:
    return Flag(
        spelling=spelling,
        is_switch=kind == "switch",
        is_number=kind == "number",
        choices=choices,
        joined=joined,
    )


def _kind_of(node: ast.AST | None) -> str:
    """Tell from a type whether a flag is a switch or takes a number."""
    names = (
        {part.id for part in ast.walk(node) if isinstance(part, ast.Name)} if node else set[str]()
    )
    if "str" in names or "Path" in names:
        return ""
    if "bool" in names:
        return "switch"
    return "number" if names & {"int", "float"} else ""


def _choices(node: ast.Call) -> tuple[str, ...]:
    for keyword in node.keywords:
        if keyword.arg in {"choices", "enum_values"} and isinstance(
            keyword.value, ast.List | ast.Tuple
        ):
            return tuple(filter(None, map(_text, keyword.value.elts)))
    return ()


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in (_called(mark) or _name(mark)) for mark in node.decorator_list)


def _called(node: ast.AST) -> str:
    """Give the last name of what a call calls."""
    return _name(node.func).rpartition(".")[2] if isinstance(node, ast.Call) else ""


def _name(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{_name(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _text(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _truth(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True
