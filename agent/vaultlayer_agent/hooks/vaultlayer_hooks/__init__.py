"""Hooks inside the user's script: they tell the agent what happens, and let the HF Trainer resume.

Standard library only, Python 3.9 or newer. No thread is started, no framework is imported: a module is
touched right after the script itself has imported it. `VAULTLAYER_HOOKS=off` switches all of it off.
"""

import os

VERSION = 1


def install():
    """Set up the channel to the agent and wait for the frameworks to be imported."""
    from vaultlayer_hooks import channel, finder

    channel.open_channel(os.environ.get("VAULTLAYER_EVENTS", ""), VERSION)
    finder.install()
