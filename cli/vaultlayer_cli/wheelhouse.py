"""Gathers the wheels of the agent of this very version, for machines that no package index serves.

Our own wheel is made from what is installed here; its dependencies come from the package index that this
machine's pip is set up for, in the versions that a new machine would take.
"""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from importlib.metadata import Distribution, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from vaultlayer import __version__
from vaultlayer.errors import WheelError

PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = {
    "x86_64": ("manylinux_2_28_x86_64", "manylinux2014_x86_64"),
    "aarch64": ("manylinux_2_28_aarch64", "manylinux2014_aarch64"),
}
PIP_S = 300.0


class _Origin(msgspec.Struct, frozen=True):
    """`direct_url.json` of an installed package (PEP 610), as far as it matters here."""

    url: str
    dir_info: dict[str, bool] = {}


def archive(target: Path, *, arch: str, pythons: Sequence[str] = PYTHONS) -> list[str]:
    """Gather the wheels in a directory and pack them; gives their file names.

    Args:
        target: the .tar.gz to be written; wheels are gathered beside it.
        arch: of the machines: `x86_64` or `aarch64`.
        pythons: versions that a machine may have.

    Raises:
        WheelError: pip is not there, or a wheel is not to be had.
    """
    folder = target.with_suffix(".wheels")
    folder.mkdir(parents=True, exist_ok=True)
    wanted = f"vaultlayer[agent] @ {own_wheel(folder).as_uri()}"
    _gather_pure(folder, wanted)
    platforms = [part for name in PLATFORMS[arch] for part in ("--platform", name)]
    for python in pythons:
        target_of = ["--only-binary", ":all:", *platforms, "--python-version", python]
        _pip("download", "--dest", str(folder), "--find-links", str(folder), *target_of, wanted)
    names = sorted(path.name for path in folder.glob("*.whl"))
    with tarfile.open(target, "w:gz") as packed:
        for name in names:
            packed.add(folder / name, name)
    return names


def _gather_pure(folder: Path, wanted: str) -> None:
    """Build here what the index has as source alone (`nkeys`): only pure packages may be so."""
    _pip("wheel", "--wheel-dir", str(folder), wanted)
    for path in folder.glob("*.whl"):
        if not path.name.endswith("-none-any.whl"):
            path.unlink()


def own_wheel(folder: Path) -> Path:
    """Make the wheel of the VaultLayer that runs here.

    Raises:
        WheelError: it runs from a source tree that cannot be built here.
    """
    installed = distribution("vaultlayer")
    origin = _origin(installed)
    if origin is not None and origin.dir_info.get("editable"):
        source = unquote(urlsplit(origin.url).path)
        _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), source)
        return next(folder.glob(f"vaultlayer-{__version__}-*.whl"))
    path = folder / f"vaultlayer-{__version__}-py3-none-any.whl"
    path.write_bytes(repack(installed))
    return path


def _origin(installed: Distribution) -> _Origin | None:
    text = installed.read_text("direct_url.json")
    return msgspec.json.decode(text, type=_Origin) if text else None


def repack(installed: Distribution) -> bytes:
    """Give an installed pure package as the wheel it came from (PEP 427)."""
    info = f"vaultlayer-{__version__}.dist-info"
    left_out = {
        f"{info}/{name}" for name in ("RECORD", "INSTALLER", "REQUESTED", "direct_url.json")
    }
    buffer, rows = io.BytesIO(), list[tuple[str, str, int | str]]()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as wheel:
        for entry in installed.files or []:
            name = entry.as_posix()
            # Programs lie outside and are made anew from the entry points.
            if name.startswith("..") or name.endswith(".pyc") or name in left_out:
                continue
            data = entry.read_binary()
            digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
            wheel.writestr(name, data)
            rows.append((name, f"sha256={digest}", len(data)))
        record = io.StringIO()
        csv.writer(record, lineterminator="\n").writerows([*rows, (f"{info}/RECORD", "", "")])
        wheel.writestr(f"{info}/RECORD", record.getvalue())
    return buffer.getvalue()


def _pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PIP_S, check=False)
    except subprocess.TimeoutExpired:
        raise WheelError("pip did not end in time", mend="look at the package index") from None
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise WheelError(
            f"the wheels for new machines are not to be had: pip {arguments[0]} failed",
            why=" ".join(lines)[-400:] or done.stderr[-400:],
            mend="python -m pip must work here and reach a package index",
        )
