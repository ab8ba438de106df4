"""What actors ask of one another, and what the broker tells an agent."""

from vaultlayer.driver import Instance
from vaultlayer.messages.agents import TakeoverOrder
from vaultlayer.messages.base import Message


class ProbeRequest(Message, frozen=True, kw_only=True):
    """`vl.pool.<provider>.probe`: look at one machine now."""

    instance: str


class ProbeReply(Message, frozen=True, kw_only=True):
    """`vanished`: it is gone or dead for certain."""

    instance: Instance
    vanished: bool = False


class TerminateRequest(Message, frozen=True, kw_only=True):
    """`vl.pool.<provider>.terminate` and `….absent`."""

    job: str
    attempt: int
    instance: str = ""


class AbsentReply(Message, frozen=True, kw_only=True):
    """Whether get and list, asked as often and as far apart as the manifest says, show nothing."""

    absent: bool
    detail: str = ""


class EnrolCredentialRequest(Message, frozen=True, kw_only=True):
    """`vl.vault.enrol_credential`: something that lets one machine enrol, for minutes."""

    job: str
    attempt: int


class EnrolCredential(Message, frozen=True, kw_only=True):
    """Passes through the provider's console, so it can do nothing else."""

    user_jwt: str
    seed: str
    bus_urls: list[str] = []
    wheels_url: str = ""
    """Reads one archive of wheels, for an hour; empty: there is none in the bucket."""


class RevokeRequest(Message, frozen=True, kw_only=True):
    """`vl.vault.revoke`: refuse and disconnect these bus users from now on."""

    user_keys: list[str]


class BrokerStoreRequest(Message, frozen=True, kw_only=True):
    """`vl.vault.broker_store`: an actor's key to the whole bucket root, sealed, for minutes."""

    seal_key: str
    write: bool = False


class ProviderSecretsRequest(Message, frozen=True, kw_only=True):
    """`vl.vault.provider_secrets`: one provider's API keys, sealed to the pool's key."""

    provider: str
    seal_key: str


class ProviderSecrets(Message, frozen=True, kw_only=True):
    """What lies in the box."""

    values: dict[str, str] = {}


class ActorBeat(Message, frozen=True, kw_only=True):
    """`vl.actor.<kind>.beat`: who else is there."""

    actor: str
    version: str = ""
    leaving: bool = False


class ControlMessage(Message, frozen=True, kw_only=True):
    """`vl.ctl.<slot>.<job>.<attempt>.<verb>`: `takeover`, `fenced`, `stop` or `save`."""

    takeover: TakeoverOrder | None = None
    reason: str = ""
