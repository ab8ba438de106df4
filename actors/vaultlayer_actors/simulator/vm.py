"""What a simulated VM does with its user data: what cloud-init would do with it."""

import json

from vaultlayer_actors.simulator.fleet import Fleet


def script_in(user_data: str) -> str:
    """Give what cloud-init runs at the first boot, as sh; empty for what it would not run.

    Args:
        user_data: plain text, as the machine sees it.
    """
    if user_data.startswith("#!"):
        return user_data
    if not user_data.startswith("#cloud-config\n"):
        return ""
    config = json.loads(user_data.partition("\n")[2])
    files = {one["path"]: one["content"] for one in config.get("write_files", [])}
    command = config["runcmd"][0]
    return files.get(command[-1], "")


def lose(fleet: Fleet, machine_id: str) -> None:
    """Let a machine's host fail: the VM is off, still there, and billed in full."""
    fleet.machines[machine_id].stopped_usd_h = fleet.machines[machine_id].price_usd_h
    fleet.outbid(machine_id)
