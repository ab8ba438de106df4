"""What two runs of one script left behind, compared: tensors bit by bit, text byte by byte.

Every file is sorted into one of four columns: weights, optimizer, metrics, logs. A leaf whose file or key
speaks of an optimizer belongs to the optimizer, every other tensor to the weights.
"""

import importlib
import io
import pickle
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch

COLUMNS = ("weights", "optimizer", "metrics", "logs")
TORCH = {".pt", ".pth", ".bin", ".ckpt", ".tar"}
METRICS = {".csv", ".tsv", ".json", ".jsonl"}
LOGS = {".txt", ".log", ".yaml", ".md"}
OPTIMIZER = re.compile(
    r"(?i)opt|adam|lbfgs|sched|scaler|velocity|lr_|exp_avg|momentum_buf|param_groups|\[1\]\.state"
)
MISSING = "<missing>"


class Difference(msgspec.Struct, frozen=True):
    """The first place at which a file differs."""

    column: str
    file: str
    at: str
    detail: str


class Comparison(msgspec.Struct):
    """How many leaves or files of each column were compared, and which were not equal."""

    compared: dict[str, int]
    differences: list[Difference]

    def verdict(self, column: str) -> str:
        """Give `identical`, `differs` or `none`: nothing of that kind was written."""
        if any(found.column == column for found in self.differences):
            return "differs"
        return "identical" if self.compared.get(column) else "none"


def compare(bare: Path, other: Path, ignored: Sequence[str] = ()) -> Comparison:
    """Compare two output trees; names that match a pattern of `ignored` are left out."""
    skip = [re.compile(pattern) for pattern in ignored]
    names = sorted({*_names(bare, skip), *_names(other, skip)})
    result = Comparison(dict.fromkeys(COLUMNS, 0), [])
    for name in names:
        if not (bare / name).is_file() or not (other / name).is_file():
            gone = "uninterrupted run" if not (bare / name).is_file() else "resumed run"
            column = column_of(name, "")
            result.differences.append(Difference(column, name, "", f"absent in the {gone}"))
        else:
            _compare_file(name, bare / name, other / name, result)
    return result


def column_of(file: str, leaf: str) -> str:
    """Tell which column a leaf of a file belongs to; `leaf` is empty for text."""
    suffix = Path(file).suffix
    if suffix in METRICS:
        return "metrics"
    if suffix in LOGS or not suffix:
        return "logs"
    return "optimizer" if OPTIMIZER.search(f"{Path(file).stem}/{leaf}") else "weights"


def leaves_of(path: Path) -> dict[str, Any]:
    """Load a file of tensors and give its leaves by their place in it."""
    return dict(_flatten("", _load(path)))


def same(one: Any, two: Any) -> bool:
    """Bitwise equality of two leaves; a NaN equals itself when its bits do."""
    left, right = _bits(one), _bits(two)
    return left == right


def _names(root: Path, skip: Sequence[re.Pattern[str]]) -> Iterator[str]:
    for path in root.rglob("*"):
        name = path.relative_to(root).as_posix()
        if (
            path.is_file()
            and path.suffix not in {".py", ".pyc"}
            and not any(p.search(name) for p in skip)
        ):
            yield name


def _compare_file(name: str, bare: Path, other: Path, result: Comparison) -> None:
    if column_of(name, "") in {"metrics", "logs"}:
        column = column_of(name, "")
        result.compared[column] += 1
        if bare.read_bytes() != other.read_bytes():
            result.differences.append(Difference(column, name, *_first_line(bare, other)))
        return
    one, two = leaves_of(bare), leaves_of(other)
    told: set[str] = set()
    for leaf in sorted({*one, *two}):
        column = column_of(name, leaf)
        result.compared[column] += 1
        left, right = one.get(leaf, MISSING), two.get(leaf, MISSING)
        if column not in told and not same(left, right):
            told.add(column)
            result.differences.append(Difference(column, name, leaf, _unlike(left, right)))


def _first_line(bare: Path, other: Path) -> tuple[str, str]:
    one, two = bare.read_bytes().split(b"\n"), other.read_bytes().split(b"\n")
    for number, (left, right) in enumerate(zip(one, two, strict=False), 1):
        if left != right:
            return f"line {number}", f"{left[:120]!r} became {right[:120]!r}"
    return f"line {min(len(one), len(two))}", f"{len(one)} lines became {len(two)}"


def _unlike(left: Any, right: Any) -> str:
    if hasattr(left, "dtype") and hasattr(right, "dtype"):
        if left.shape != right.shape or left.dtype != right.dtype:
            return f"{left.dtype}{left.shape} became {right.dtype}{right.shape}"
        unequal = left != right
        return f"{int(unequal.sum())} of {left.size} elements"
    return f"{str(left)[:80]} became {str(right)[:80]}"


def _load(path: Path) -> Any:
    suffix = path.suffix
    if suffix in TORCH:
        return _load_torch(path)
    if suffix == ".safetensors":
        from safetensors.numpy import (  # noqa: PLC0415 - only some scripts write these
            load_file,  # pyright: ignore[reportUnknownVariableType]
        )

        return load_file(path)  # pyright: ignore[reportUnknownVariableType]
    if suffix in {".npz", ".npy"}:
        loaded: Any = np.load(path, allow_pickle=True)
        return dict(loaded) if suffix == ".npz" else loaded
    if suffix == ".pkl":
        return pickle.loads(path.read_bytes())
    if suffix == ".h5":
        return _load_h5(path)
    return np.frombuffer(path.read_bytes(), dtype=np.uint8)


def _load_torch(path: Path) -> Any:
    data = path.read_bytes()
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return np.frombuffer(data, dtype=np.uint8)
    try:
        return torch.load(io.BytesIO(data), weights_only=False, map_location="cpu")
    except (AttributeError, ModuleNotFoundError):
        return _zip_members(data)


def _zip_members(data: bytes) -> dict[str, np.ndarray[Any, Any]]:
    """Give the raw records of a torch file whose classes are known only to its own script."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {
            name.split("/", 1)[-1]: np.frombuffer(archive.read(name), dtype=np.uint8)
            for name in archive.namelist()
            if not name.endswith(".data/serialization_id")
        }


def _load_h5(path: Path) -> dict[str, Any]:
    h5py: Any = importlib.import_module("h5py")  # only Keras writes these

    found: dict[str, Any] = {}

    def visit(name: str, node: Any) -> None:
        if isinstance(node, h5py.Dataset):
            found[name] = np.asarray(node)

    with h5py.File(path) as file:
        file.visititems(visit)
    return found


def _flatten(place: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, torch.Tensor):
        yield place, _array(value.detach())
    elif isinstance(value, torch.nn.Module):
        yield from _flatten(place, value.state_dict())
    elif isinstance(value, Mapping):
        for key, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield from _flatten(f"{place}.{_plain(key)}" if place else _plain(key), inner)  # pyright: ignore[reportUnknownArgumentType]
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):  # pyright: ignore[reportUnknownVariableType,reportUnknownArgumentType]
            yield from _flatten(f"{place}[{index}]", inner)
    else:
        yield place or "value", _plain(value) if isinstance(value, str) else value


def _plain(value: object) -> str:
    """Spell a key; of an absolute path its name alone, for two runs have two directories."""
    spelled = str(value)
    return Path(spelled).name if spelled.startswith("/") else spelled


def _array(tensor: torch.Tensor) -> Any:
    tensor = tensor.to_dense() if tensor.is_sparse else tensor
    if tensor.dtype is torch.bfloat16:
        return tensor.view(torch.int16).numpy()
    return tensor.contiguous().numpy()


def _bits(value: Any) -> Any:
    if hasattr(value, "dtype"):
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, float):
        return np.float64(value).tobytes()
    return repr(value)
