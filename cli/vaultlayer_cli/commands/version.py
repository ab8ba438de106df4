"""`vaultlayer version`."""

import platform
import sys

from vaultlayer import __version__
from vaultlayer_cli.options import AsJson
from vaultlayer_cli.terminal import print_json


def version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
    else:
        sys.stdout.write(f"vaultlayer {__version__} (Python {platform.python_version()})\n")
