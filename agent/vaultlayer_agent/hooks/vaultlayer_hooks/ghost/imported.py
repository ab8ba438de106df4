"""The code that a script has imported: its own modules by content, libraries that compute by version.

A replay skips calls, and their code may be another by now: in a module beside the script, or in a library
that a new machine's set-up has installed anew. What is installed but not imported does not count, and neither
do libraries that only draw, log or fetch.
"""

import hashlib
import os
import sys

from vaultlayer_hooks.ghost.state import is_user_module

COMPUTED_WITH = ("torch", "nn", "np", "numpy", "jax", "jnp")
COMPUTING = frozenset(("PIL", "cv2", "tokenizers", "sentencepiece", "tiktoken"))
NOT_COMPUTING = frozenset(
    "matplotlib mpl_toolkits seaborn plotly bokeh tensorboard tensorboardX wandb mlflow comet_ml neptune"
    " clearml aim sympy networkx safetensors tqdm rich IPython ipykernel pip setuptools pkg_resources psutil"
    " pynvml".split()
)
CONTENT = "content "
"""Begins what is kept of a module of the script's own; the rest are versions."""


class Imported:
    """What has been imported, as it was when it was first seen: files may be written to later."""

    def __init__(self):
        self._names = set()
        self._computing = set()
        self._installed = {}
        self._known = {}

    def see(self):
        """Look at what has been imported since the last look; give `{name: content or version}` of all."""
        for name in sys.modules.keys() - self._names:
            self._names.add(name)
            module = sys.modules.get(name)
            if name == "__main__" or not hasattr(module, "__dict__"):
                continue
            if is_user_module(name):
                self._add_own(name, module)
            else:
                self._add_library(name, module)
        return dict(self._known)

    def _add_own(self, name, module):
        try:
            with open(module.__file__, "rb") as file:
                data = file.read()
        except OSError:
            return
        self._known[name] = CONTENT + hashlib.blake2b(data, digest_size=8).hexdigest()

    def _add_library(self, name, module):
        root = name.partition(".")[0]
        if root in self._computing or root in NOT_COMPUTING:
            return
        computes = root in COMPUTING or any(n in vars(module) for n in COMPUTED_WITH)
        if computes and root in sys.modules:
            self._computing.add(root)
            version = self._version(root, sys.modules[root])
            if version:
                self._known[root] = version

    def _version(self, root, module):
        # Not by `getattr`: some warn when they are asked, and lazy ones import others.
        version = vars(module).get("__version__")
        if isinstance(version, str):
            return version
        file = getattr(module, "__file__", None)
        if not isinstance(file, str):
            return ""
        return self._versions_in(os.path.dirname(os.path.dirname(file))).get(root.lower(), "")

    def _versions_in(self, directory):
        """Give the versions of what is installed in a directory, by names that are those of modules, too."""
        if directory not in self._installed:
            try:
                entries = os.listdir(directory)
            except OSError:
                entries = []
            found = [entry[:-10].split("-") for entry in entries if entry.endswith(".dist-info")]
            versions = {pair[0].lower(): pair[1] for pair in found if len(pair) == 2}
            self._installed[directory] = versions
        return self._installed[directory]

    def changed(self, before):
        """Say what is imported now and is not what it was before; "" for nothing."""
        now = self.see()
        for name, was in sorted(before.items()):
            if now.get(name, was) == was:
                continue
            if was.startswith(CONTENT):
                return "the module %s is not what it was" % name
            return "%s is not what it was: %s, and was %s" % (name, now[name], was)
        return ""
