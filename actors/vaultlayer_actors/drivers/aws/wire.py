"""EC2's answers as botocore's own model names them; what we do not read is left out."""

from datetime import datetime

import msgspec


class _Wire(msgspec.Struct, frozen=True, kw_only=True, rename="pascal"):
    pass


class Page(_Wire, frozen=True, kw_only=True):
    """What every listing has."""

    next_token: str | None = None
    """Absent or empty on the last page; a page may be empty and not the last."""


class Memory(_Wire, frozen=True, kw_only=True):
    """An amount of memory."""

    size_in_mi_b: int = 0


class Gpu(_Wire, frozen=True, kw_only=True):
    """One kind of GPU in an instance type."""

    name: str = ""
    manufacturer: str = ""
    count: int = 0
    gpu_partition_size: float = 1.0
    """How much of a GPU it is; botocore's older models leave it out."""
    memory_info: Memory = Memory()


class Gpus(_Wire, frozen=True, kw_only=True):
    """All of them."""

    gpus: list[Gpu] = []


class Cpus(_Wire, frozen=True, kw_only=True):
    """Virtual CPUs."""

    default_v_cpus: int = 0


class Processor(_Wire, frozen=True, kw_only=True):
    """What programs it runs."""

    supported_architectures: list[str] = []


class Kind(_Wire, frozen=True, kw_only=True):
    """One instance type."""

    instance_type: str
    gpu_info: Gpus | None = None
    v_cpu_info: Cpus = Cpus()
    memory_info: Memory = Memory()
    processor_info: Processor = Processor()


class Kinds(Page, frozen=True, kw_only=True):
    """DescribeInstanceTypes."""

    instance_types: list[Kind]


class Offering(_Wire, frozen=True, kw_only=True):
    """That a type is sold in a zone; not that there is one now."""

    instance_type: str
    location: str


class Offerings(Page, frozen=True, kw_only=True):
    """DescribeInstanceTypeOfferings."""

    instance_type_offerings: list[Offering]


class SpotPrice(_Wire, frozen=True, kw_only=True):
    """What a spot machine costs in a zone from a moment on."""

    availability_zone: str
    instance_type: str
    spot_price: str
    timestamp: datetime


class SpotPrices(Page, frozen=True, kw_only=True):
    """DescribeSpotPriceHistory."""

    spot_price_history: list[SpotPrice]


class Volume(_Wire, frozen=True, kw_only=True):
    """A disk in an image."""

    volume_size: int = 0
    """In GiB: the least that a disk made of it may have."""


class Device(_Wire, frozen=True, kw_only=True):
    """A disk's place."""

    device_name: str = ""
    ebs: Volume | None = None


class Image(_Wire, frozen=True, kw_only=True):
    """A machine image."""

    image_id: str
    name: str = ""
    creation_date: str = ""
    root_device_name: str = "/dev/sda1"
    block_device_mappings: list[Device] = []


class Images(Page, frozen=True, kw_only=True):
    """DescribeImages."""

    images: list[Image]


class State(_Wire, frozen=True, kw_only=True):
    """`pending`, `running`, `shutting-down`, `terminated`, `stopping`, `stopped`."""

    name: str = ""


class Reason(_Wire, frozen=True, kw_only=True):
    """Why an instance is in its state."""

    code: str = ""
    message: str = ""


class Placement(_Wire, frozen=True, kw_only=True):
    """Where it stands."""

    availability_zone: str = ""


class Tag(_Wire, frozen=True, kw_only=True):
    """A tag."""

    key: str
    value: str = ""


class Row(_Wire, frozen=True, kw_only=True):
    """One instance."""

    instance_id: str
    state: State
    state_reason: Reason | None = None
    instance_type: str = ""
    instance_lifecycle: str = ""
    """`spot`; empty: on demand."""
    placement: Placement = Placement()
    tags: list[Tag] = []


class Reservation(_Wire, frozen=True, kw_only=True):
    """What one RunInstances made."""

    instances: list[Row] = []


class Reservations(Page, frozen=True, kw_only=True):
    """DescribeInstances."""

    reservations: list[Reservation]


class Ran(_Wire, frozen=True, kw_only=True):
    """RunInstances."""

    instances: list[Row]


class Change(_Wire, frozen=True, kw_only=True):
    """One instance's change of state."""

    instance_id: str
    current_state: State = State()


class Ended(_Wire, frozen=True, kw_only=True):
    """TerminateInstances."""

    terminating_instances: list[Change]
