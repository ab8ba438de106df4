"""The image of simulated machines: a `python` with all that a job needs, and the agent, of this installation.

Its GPU is pretended to where the CUDA driver would be loaded, so that the agent's own proof runs as it is.
"""

import os
import sys
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

PROGRAMS = {"python": "python", "python3": "python", "vaultlayer-agent": "vaultlayer-agent"}
POWER = ("shutdown", "poweroff", "halt", "reboot")
"""A simulated VM that ends itself must not end the machine that it is simulated on."""
OFF = "powered-off"
"""A file on a machine's disk: what these programs leave instead."""


@dataclass(frozen=True)
class Image:
    """Directories of an image: programs, and what its Python loads at its start."""

    programs: Path
    modules: Path

    def environment(self, system_path: str) -> dict[str, str]:
        """Give what every process of a machine has."""
        path = f"{self.programs}{os.pathsep}{system_path}"
        return {"PATH": path, "PYTHONPATH": str(self.modules)}


def make_image(root: Path, *, has_agent: bool = True) -> Image:
    """Make an image of this installation's programs; without the agent it is one that nobody has prepared."""
    image = Image(root / "bin", root / "modules")
    image.programs.mkdir(parents=True, exist_ok=True)
    image.modules.mkdir(exist_ok=True)
    own = Path(sys.executable).parent
    for name, program in PROGRAMS.items():
        if name == "vaultlayer-agent" and not has_agent:
            continue
        path = image.programs / name
        # A link would lose the environment that the program lies in.
        path.write_text(f'#!/bin/sh\nexec "{own / program}" "$@"\n')
        path.chmod(0o755)
    for name in POWER:
        path = image.programs / name
        path.write_text(f'#!/bin/sh\n: >"$HOME/{OFF}"\n')
        path.chmod(0o755)
    timed = image.programs / "timedatectl"
    timed.write_text("#!/bin/sh\necho yes\n")
    timed.chmod(0o755)
    driver = resources.files("vaultlayer_actors.simulator").joinpath("fake_cuda.py").read_text()
    (image.modules / "sitecustomize.py").write_text(driver)
    return image
