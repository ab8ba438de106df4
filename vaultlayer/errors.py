"""Every error a person can meet: what happened, why, how to mend it, and a stable code.

```text
VaultLayerError                  code               exit
├── InputError                                      64   the request itself is wrong
│   ├── GpuUnknownError          gpu-unknown
│   ├── CommandError             command-bad
│   ├── ScriptMissingError       script-missing     66
│   ├── EnvError                 env-bad            66
│   ├── WorkdirTooLargeError     workdir-too-large  65
│   ├── JobUnknownError          job-unknown        66
│   ├── AttemptUnknownError      attempt-unknown    66
│   ├── FlagError                flag-bad
│   └── CheckError               check-impossible   65   a script that cannot be checked on this machine
├── ConfigError                  config-bad         78   a configuration file: file, line, field
├── NotInitialisedError          not-initialised    78
├── PlacementError               no-provider        69   nobody can serve the job; each said why
├── BudgetError                  budget-spent       69
├── BrokerError                                     69   the broker or one of its servers
│   ├── BrokerDownError          broker-down
│   ├── BrokerRunningError       broker-running     73
│   ├── PortTakenError           port-taken         73
│   ├── ServerUnfitError         bus-unfit          78   nats-server too old or without sync
│   ├── ServerStartError         server-start       70
│   ├── ServerMissingError       server-missing     69
│   └── BusTimeoutError          bus-timeout        75
├── StoreError                                      69   the bucket
│   ├── StoreUnreachableError    store-unreachable
│   ├── StoreDeniedError         store-denied       77
│   ├── StoreMissingError        store-missing      66
│   └── StoreConflictError       store-conflict     75
├── CheckpointError              checkpoint-bad     65   bytes that are not what the log says
├── SourceChangedError           source-changed     75   a file was written to while it was saved
├── DiskError                    disk-bad           74   a file cannot be read or written
│   └── DiskFullError            disk-full
├── DeniedError                  denied             77   a credential does not reach that far
├── SealError                    seal-bad           77   a sealed value that this key does not open
├── DriverError                  driver             69   a provider refused or failed
│   ├── CapacityError            no-capacity        75
│   │   └── OfferGoneError       offer-gone         75
│   ├── AmbiguousCreateError     create-ambiguous   75
│   ├── ThrottledError           provider-throttled 75
│   ├── AuthError                provider-auth      77
│   └── BalanceError             provider-balance   69
├── GpuUnfitError                gpu-unfit          69   a machine's GPU does not compute, or is another one
├── DrillError                   drill-refused      69
├── RefusedError                 refused            77   the log says no; `code` tells which guard
│   └── SupersededError          superseded         77   a newer attempt has taken over, or the job is over
└── InternalError                internal           70   a defect of ours
```

`exit` is the exit status of the command line; a script's own status is passed through unchanged, and ours
lie in the range of sysexits.h (64-78), which training scripts do not use by custom.
No secret may be part of `what`, `why` or `mend`: they are printed and logged.
"""

from vaultlayer.error_base import ErrorBody, VaultLayerError


class InputError(VaultLayerError):
    """The request itself is wrong; nothing was started."""

    code = "input-bad"
    exit_status = 64


class GpuUnknownError(InputError):
    """No GPU of that name is known."""

    code = "gpu-unknown"


class CommandError(InputError):
    """The command is empty or cannot be run."""

    code = "command-bad"


class ScriptMissingError(InputError):
    """The script that the command names is not in the working directory."""

    code = "script-missing"
    exit_status = 66


class EnvError(InputError):
    """An environment value or an env file cannot be read."""

    code = "env-bad"
    exit_status = 66


class WorkdirTooLargeError(InputError):
    """The working directory is larger than the guard allows."""

    code = "workdir-too-large"
    exit_status = 65


class JobUnknownError(InputError):
    """No job has that id."""

    code = "job-unknown"
    exit_status = 66


class AttemptUnknownError(InputError):
    """The job has no attempt of that number."""

    code = "attempt-unknown"
    exit_status = 66


class FlagError(InputError):
    """A flag has a value that cannot be used."""

    code = "flag-bad"


class CheckError(InputError):
    """The script cannot be checked on this machine: it fails, never trains, or is over too soon."""

    code = "check-impossible"
    exit_status = 65


class ConfigError(VaultLayerError):
    """A configuration file is broken; the message names file, line and field."""

    code = "config-bad"
    exit_status = 78


class NotInitialisedError(VaultLayerError):
    """There is no configuration yet."""

    code = "not-initialised"
    exit_status = 78


class PlacementError(VaultLayerError):
    """No allowed provider can serve the job."""

    code = "no-provider"
    exit_status = 69


class BudgetError(VaultLayerError):
    """A cap in dollars, attempts or time is spent."""

    code = "budget-spent"
    exit_status = 69


class BrokerError(VaultLayerError):
    """The broker or one of its servers."""

    code = "broker"
    exit_status = 69


class BrokerDownError(BrokerError):
    """Nobody answers on the bus."""

    code = "broker-down"


class BrokerRunningError(BrokerError):
    """Another broker already owns this home."""

    code = "broker-running"
    exit_status = 73


class PortTakenError(BrokerError):
    """A port that the broker needs is held by a stranger."""

    code = "port-taken"
    exit_status = 73


class ServerUnfitError(BrokerError):
    """The nats-server is too old, or acknowledges before it has synced."""

    code = "bus-unfit"
    exit_status = 78


class ServerStartError(BrokerError):
    """A child server did not come up."""

    code = "server-start"
    exit_status = 70


class ServerMissingError(BrokerError):
    """The program of a child server is not installed."""

    code = "server-missing"


class BusTimeoutError(BrokerError):
    """No answer in time: whether the request took effect is unknown."""

    code = "bus-timeout"
    exit_status = 75


class StoreError(VaultLayerError):
    """The bucket."""

    code = "store"
    exit_status = 69


class WheelError(VaultLayerError):
    """Wheels for new machines cannot be made or fetched here."""

    code = "wheels"
    exit_status = 69


class StoreUnreachableError(StoreError):
    """The bucket's endpoint does not answer."""

    code = "store-unreachable"


class StoreDeniedError(StoreError):
    """The bucket refuses these credentials for that key."""

    code = "store-denied"
    exit_status = 77


class StoreMissingError(StoreError):
    """The bucket or the object is not there."""

    code = "store-missing"
    exit_status = 66


class StoreConflictError(StoreError):
    """A conditional write found something else in place."""

    code = "store-conflict"
    exit_status = 75


class CheckpointError(VaultLayerError):
    """Bytes that are not what the log says they are."""

    code = "checkpoint-bad"
    exit_status = 65


class SourceChangedError(VaultLayerError):
    """A file changed while it was being saved: that checkpoint is void, the next one may do."""

    code = "source-changed"
    exit_status = 75


class DiskError(VaultLayerError):
    """A file or directory of this machine cannot be read or written."""

    code = "disk-bad"
    exit_status = 74


class DiskFullError(DiskError):
    """No space is left where something must be written."""

    code = "disk-full"


class DeniedError(VaultLayerError):
    """A credential does not reach that far."""

    code = "denied"
    exit_status = 77


class SealError(VaultLayerError):
    """A sealed value that this key does not open."""

    code = "seal-bad"
    exit_status = 77


class DriverError(VaultLayerError):
    """A provider refused or failed."""

    code = "driver"
    exit_status = 69


class CapacityError(DriverError):
    """The provider has no machine of that kind just now."""

    code = "no-capacity"
    exit_status = 75


class AmbiguousCreateError(DriverError):
    """The provider's answer to a create was lost: the machine may or may not exist."""

    code = "create-ambiguous"
    exit_status = 75


class OfferGoneError(CapacityError):
    """Somebody else took the machine between the listing and the create."""

    code = "offer-gone"


class ThrottledError(DriverError):
    """The provider asks for fewer calls, and went on asking; nothing was done."""

    code = "provider-throttled"
    exit_status = 75


class AuthError(DriverError):
    """The provider does not accept the API key, or not for this."""

    code = "provider-auth"
    exit_status = 77


class BalanceError(DriverError):
    """The account at the provider has no credit, or has spent its limit."""

    code = "provider-balance"


class GpuUnfitError(VaultLayerError):
    """A rented machine's GPU does not compute, or is not the one that was promised."""

    code = "gpu-unfit"
    exit_status = 69


class DrillError(VaultLayerError):
    """The drill cannot be done to this job now."""

    code = "drill-refused"
    exit_status = 69


class RefusedError(VaultLayerError):
    """The job's log does not allow it."""

    code = "refused"
    exit_status = 77


class SupersededError(RefusedError):
    """A newer attempt has taken over, or the job is over: stop."""

    code = "superseded"


class InternalError(VaultLayerError):
    """A defect of ours."""


def _tree(cls: type[VaultLayerError]) -> list[type[VaultLayerError]]:
    found = [cls]
    for child in cls.__subclasses__():
        found.extend(_tree(child))
    return found


def error_types() -> dict[str, type[VaultLayerError]]:
    """Map each stable code to its class."""
    return {cls.code: cls for cls in reversed(_tree(VaultLayerError))}


def error_of(body: ErrorBody) -> VaultLayerError:
    """Turn a received body into the error it names; an unknown code becomes the base class."""
    cls = error_types().get(body.code, VaultLayerError)
    error = cls(body.what, why=body.why, mend=body.mend, retryable=body.retryable)
    error.code = body.code
    return error
