"""A new machine makes its keys here and shows their public halves; the private ones never leave it."""

import msgspec

from vaultlayer import sealing, subjects
from vaultlayer.bus import jwt
from vaultlayer.bus.credential import BusCredential
from vaultlayer.bus.nats import open_bus
from vaultlayer.driver import BootPayload
from vaultlayer.errors import BrokerError
from vaultlayer.ids import Attempt, JobId
from vaultlayer.logging import get_logger
from vaultlayer.messages import Enrol, Enrolment
from vaultlayer_agent.waiting import Backoff

ENROL_TIMEOUT_S = 10.0


class MachineKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The private keys of one agent process: one for the bus, one that opens sealed replies."""

    user_seed: str
    seal_private: bytes

    @property
    def user_key(self) -> str:
        """Public key for the bus."""
        return jwt.public_key(self.user_seed)

    @property
    def seal_key(self) -> str:
        """Public key to which secrets are sealed."""
        return sealing.public_of(self.seal_private)


def make_keys(noise: bytes) -> MachineKeys:
    """Make the keys from 64 random bytes."""
    return MachineKeys(
        user_seed=jwt.make_seed(jwt.KeyKind.USER, noise[:32]), seal_private=noise[32:64]
    )


def life_s(user_jwt: str) -> float:
    """Give how long a JWT holds from its issue, by its issuer's clock; 0 when it has no end."""
    claims = jwt.read_jwt(user_jwt)
    return float(claims.exp - claims.iat) if claims.exp else 0.0


async def enrol(boot: BootPayload, keys: MachineKeys, *, version: str) -> Enrolment:
    """Get the machine's own bus credential, however long the broker is away.

    Raises:
        DeniedError: the enrol credential has expired, or was used by another machine.
        SupersededError: the attempt is no longer wanted.
    """
    job, attempt = JobId(boot.job), Attempt(boot.attempt)
    request = Enrol(
        incarnation=boot.incarnation,
        user_key=keys.user_key,
        seal_key=keys.seal_key,
        agent_version=version,
    )
    backoff = Backoff()
    while True:
        try:
            async with open_bus(
                boot.bus_urls,
                BusCredential(jwt=boot.enrol_jwt, seed=boot.enrol_seed),
                inbox=subjects.enrol_inbox(job, attempt),
                name=f"enrol-{boot.job}-a{boot.attempt}",
            ) as bus:
                return await bus.request(
                    subjects.agent(job, attempt, "enrol"),
                    request,
                    Enrolment,
                    timeout_s=ENROL_TIMEOUT_S,
                )
        except BrokerError as error:
            get_logger().info("enrol_unanswered", code=error.code)
        await backoff.wait()
