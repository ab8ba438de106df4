"""What of the job goes into a checkpoint, and when: completeness, quiet, staging, and the hooks' events."""

from vaultlayer_agent.capture.capture import Capture
from vaultlayer_agent.capture.cut import Cut
from vaultlayer_agent.capture.events import HookEvent, HookServer, hook_path

__all__ = ["Capture", "Cut", "HookEvent", "HookServer", "hook_path"]
