"""Machines of the user's own: the agent is started over SSH and dials out; nothing else stays behind.

A host that cannot be reached is `unknown`, and so is all that was ever placed on it: silence of a host is
no death of its jobs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import anyio
import msgspec

from vaultlayer.driver import (
    Account,
    DriverContext,
    Instance,
    Manifest,
    Need,
    Offer,
    Order,
    PriceParts,
)
from vaultlayer.errors import (
    AmbiguousCreateError,
    AuthError,
    CapacityError,
    ConfigError,
    DriverError,
)
from vaultlayer.gpu import canonical
from vaultlayer_actors.drivers.cloud.bootstrap import script_of
from vaultlayer_actors.drivers.cloud.driver import CloudDriver
from vaultlayer_actors.drivers.cloud.naming import is_ours
from vaultlayer_actors.drivers.cloud.options import CloudDriverType, CloudOptions
from vaultlayer_actors.drivers.ssh.reading import Found, instance_of, unknown, was_never_reached
from vaultlayer_actors.drivers.ssh.shell import Host, ask

MANIFEST = Manifest(
    name="ssh",
    title="Your own machines (SSH)",
    boot_s=600.0,
    poll_s=10.0,
    absent_checks=2,
    absent_gap_s=5.0,
    create_s=150.0,
    cooldown_s=15.0,
    work_root="~/.vaultlayer/workspace",
    drills=["kill"],
    idempotent=True,
)
MEMORY = "placed.json"

T = TypeVar("T")


class SshOptions(CloudOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[providers.ssh]` of the configuration file."""

    hosts: list[Host] = []


class SshDriver(CloudDriver):
    """All hosts of one table."""

    needs_gpu = False

    def __init__(self, context: DriverContext, options: SshOptions) -> None:
        # The only machine there is must be free of the old attempt before the next one is ordered.
        manifest = msgspec.structs.replace(MANIFEST, sole=len(options.hosts) == 1)
        super().__init__(manifest, context, options)
        self._options = options
        self._hosts = _checked(options.hosts)
        self._memory = Memory(context.state_path / MEMORY)

    async def close(self) -> None:
        """Nothing is held open between calls."""

    async def _account(self) -> Account:
        """Tell of the first host that does not answer: listings only call what is on it unknown."""
        answers = await self._ask_all(list(self._hosts.values()))
        for answer in answers.values():
            if isinstance(answer, DriverError):
                raise answer
        return Account(can_create=True)

    # Offers -----------------------------------------------------------------------------------------

    async def _offers(self, need: Need) -> Sequence[Offer]:
        if need.image:
            raise DriverError(
                "your own machines run no images", why=f"--image {need.image} was asked for"
            )
        fitting = [host for host in self._hosts.values() if _suits(host, need)]
        answers = await self._ask_all(fitting)
        failed = [answer for answer in answers.values() if isinstance(answer, DriverError)]
        if failed and len(failed) == len(answers):
            raise failed[0]
        return [
            _offer(self._hosts[name], need)
            for name, answer in answers.items()
            if not isinstance(answer, DriverError)
            and _free(self._hosts[name], answer) >= _wanted(self._hosts[name], need)
        ]

    async def _recent_offers(self, need: Need) -> Sequence[Offer]:
        # Few hosts and few jobs: a host that was free a moment ago is no offer.
        return await self._offers(need)

    def _fits(self, offer: Offer, need: Need) -> bool:
        return not need.gpu or (offer.gpu, offer.gpu_count) == (need.gpu, max(1, need.gpu_count))

    # Machines ---------------------------------------------------------------------------------------

    async def _make(self, order: Order) -> Instance:
        host = self._hosts.get(order.offer.offer_id.partition(":")[0])
        if host is None:
            raise CapacityError(f"{order.offer.offer_id} is no host of [providers.ssh] any more")
        units = order.offer.gpu_count if order.offer.gpu else host.units
        # Remembered before it is started: the answer may be lost with the host.
        self._memory.put(order.name, host.label)
        script = script_of(order, is_vm=False, wheels_url=self._options.wheels_url)
        call = ("start", order.name, str(units), str(host.units), str(int(bool(order.offer.gpu))))
        try:
            (found,) = await ask(host, *call, script=script)
        except (AuthError, CapacityError):
            self._memory.drop(order.name)
            raise
        except DriverError as error:
            if was_never_reached(error):
                self._memory.drop(order.name)
                raise CapacityError(error.what, why=error.why, retryable=True) from None
            raise AmbiguousCreateError(error.what, why=error.why, retryable=True) from None
        if not found.is_there:
            raise CapacityError(
                f"{order.name} has been on {host.label} and is gone", why=found.detail
            )
        return instance_of(host.label, found, order.offer.price_usd_h)

    async def _listed(self) -> Sequence[Instance]:
        listed: list[Instance] = []
        answers = await self._ask_all(list(self._hosts.values()))
        for name, answer in answers.items():
            if isinstance(answer, DriverError):
                # What was placed there may well run on.
                placed = self._memory.on(name)
                listed += [unknown(name, one, answer.what) for one in placed]
                continue
            listed += [instance_of(name, one, self._hosts[name].price_usd_h) for one in answer]
            self._memory.settle(name, {one.name for one in answer if one.is_there})
        gone = set(self._memory.hosts()) - set(self._hosts)
        why = "its host is no longer in [providers.ssh]"
        return [
            *listed,
            *(unknown(name, one, why) for name in gone for one in self._memory.on(name)),
        ]

    async def _look(self, instance: str) -> Instance:
        name, _, label = instance.partition("@")
        host = self._hosts.get(label)
        if host is None:
            return unknown(label, name, "its host is no longer in [providers.ssh]")
        try:
            found = await ask(host, "list")
        except DriverError as error:
            return unknown(label, name, error.what)
        mine = next((one for one in found if one.name == name), None)
        if mine is None:
            return Instance(instance=instance, name=name, state="gone")
        return instance_of(label, mine, host.price_usd_h)

    async def _end(self, instance: str) -> None:
        name, _, label = instance.partition("@")
        host = self._hosts.get(label)
        if not is_ours(name):
            return
        if host is None:
            raise DriverError(
                f"{instance} cannot be ended",
                why="its host is no longer in [providers.ssh]",
                mend="put the host back, or end the job there and remove ~/.vaultlayer/hosts",
                retryable=True,
            )
        await ask(host, "stop", name)
        self._memory.drop(name)

    # ------------------------------------------------------------------------------------------------

    async def _ask_all(self, hosts: Sequence[Host]) -> dict[str, list[Found] | DriverError]:
        answers: dict[str, list[Found] | DriverError] = {}

        async def work(host: Host) -> None:
            try:
                answers[host.label] = await ask(host, "list")
            except DriverError as error:
                answers[host.label] = error

        async with anyio.create_task_group() as group:
            for host in hosts:
                group.start_soon(work, host)
        return answers


class Memory:
    """What was placed where, in a file: a host that is silent at our start cannot be asked.

    Args:
        path: the file; its directory is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._placed = msgspec.json.decode(path.read_bytes(), type=dict[str, str])
        except FileNotFoundError:
            self._placed = {}

    def hosts(self) -> list[str]:
        """Give all hosts on which something was placed."""
        return sorted(set(self._placed.values()))

    def on(self, host: str) -> list[str]:
        """Give the names that were placed on a host."""
        return sorted(name for name, where in self._placed.items() if where == host)

    def put(self, name: str, host: str) -> None:
        """Note that something is about to be placed."""
        self._placed[name] = host
        self._save()

    def drop(self, name: str) -> None:
        """Forget what has certainly ended."""
        if self._placed.pop(name, None) is not None:
            self._save()

    def settle(self, host: str, there: set[str]) -> None:
        """Take over what a host itself says."""
        before = dict(self._placed)
        for name in self.on(host):
            if name not in there:
                del self._placed[name]
        self._placed |= dict.fromkeys(there, host)
        if self._placed != before:
            self._save()

    def _save(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        new = self._path.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(self._placed))
        new.replace(self._path)


def _checked(hosts: Sequence[Host]) -> dict[str, Host]:
    """Give the hosts by name.

    Raises:
        ConfigError: none is named, two share a name, or a GPU is unknown.
    """
    if not hosts:
        raise ConfigError(
            "[providers.ssh] names no host",
            mend='hosts = [{ address = "…", gpu = "RTX4090", gpu_count = 1 }]',
        )
    found: dict[str, Host] = {}
    for host in hosts:
        if host.label in found:
            raise ConfigError(
                f"[providers.ssh]: two hosts are called {host.label}", mend="give each a name"
            )
        if "@" in host.label or ":" in host.label or "'" in host.label:
            raise ConfigError(
                f"[providers.ssh]: {host.label!r} cannot be a name", mend='name = "box1"'
            )
        if bool(host.gpu) != bool(host.gpu_count) or (host.gpu and canonical(host.gpu) is None):
            why = f"gpu = {host.gpu!r}, gpu_count = {host.gpu_count}"
            raise ConfigError(
                f"[providers.ssh]: the GPUs of {host.label} cannot be understood",
                why=why,
                mend="a name that `vaultlayer run --gpu` takes, and a number from 1",
            )
        found[host.label] = msgspec.structs.replace(host, gpu=canonical(host.gpu) or "")
    return found


def _suits(host: Host, need: Need) -> bool:
    return not need.gpu or (host.gpu == need.gpu and host.gpu_count >= max(1, need.gpu_count))


def _wanted(host: Host, need: Need) -> int:
    return max(1, need.gpu_count) if need.gpu else host.units


def _free(host: Host, there: Sequence[Found]) -> int:
    taken = {unit for one in there if one.is_there for unit in one.units}
    return host.units - len(taken)


def _offer(host: Host, need: Need) -> Offer:
    units = _wanted(host, need)
    usd_h = host.price_usd_h * units / host.units
    return Offer(
        provider="ssh",
        offer_id=f"{host.label}:{need.gpu or 'cpu'}:{units}",
        gpu=need.gpu,
        gpu_count=max(1, need.gpu_count) if need.gpu else 0,
        price_usd_h=usd_h,
        region=host.label,
        detail=host.target,
        parts=PriceParts(machine_usd_h=usd_h),
    )


TYPE = CloudDriverType(MANIFEST, SshOptions, SshDriver)
