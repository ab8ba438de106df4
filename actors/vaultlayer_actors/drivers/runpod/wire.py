"""RunPod's JSON of REST v2. Field names are the vendor's; what we do not read is left out."""

import msgspec


class Price(msgspec.Struct, frozen=True, kw_only=True):
    """Dollars an hour for one GPU, by cloud."""

    secure: float | None = None
    community: float | None = None


class MaxCount(msgspec.Struct, frozen=True, kw_only=True):
    """GPUs in the largest machine, by cloud: a ceiling, not a stock."""

    secure: int = 0
    community: int = 0


class Stock(msgspec.Struct, kw_only=True):
    """One data centre that offers a GPU; `availability` is NONE, LOW, MEDIUM or HIGH."""

    id: str
    availability: str = "NONE"


class GpuType(
    msgspec.Struct,
    kw_only=True,
    rename={"max_count": "maxCount", "data_centers": "dataCenters"},
):
    """One row of `GET /v2/catalog/gpus`; memory in GB."""

    id: str
    name: str = ""
    memory: float | None = None
    secure: bool = False
    community: bool = False
    price: Price = Price()
    max_count: MaxCount = MaxCount()
    availability: str = "NONE"
    data_centers: list[Stock] = []


class Catalog(msgspec.Struct, kw_only=True):
    """Answer of the catalogue."""

    gpus: list[GpuType] = []


class CreateGpu(
    msgspec.Struct, kw_only=True, omit_defaults=True, rename={"min_cuda": "minCudaVersion"}
):
    """What GPU a pod shall have."""

    id: str
    count: int
    min_cuda: str = ""


class CreatePod(
    msgspec.Struct, kw_only=True, omit_defaults=True, rename={"data_centers": "dataCenterIds"}
):
    """`POST /v2/pods`; any field that the vendor does not know is a 422."""

    name: str
    image: str
    args: str
    """One string, split as a shell would; the image's entrypoint gets it."""
    env: dict[str, str]
    gpu: CreateGpu
    cloud: str
    disk: int
    """Of the container, in whole GB; wiped at a restart."""
    data_centers: list[str] = []
    registry: str | None = None


class Pod(msgspec.Struct, kw_only=True):
    """One pod; `cost` in dollars an hour, 0 when it has exited."""

    id: str
    name: str | None = None
    status: str | None = None
    cost: float | None = None


class Pods(msgspec.Struct, kw_only=True):
    """`GET /v2/pods`: all of them, without pages."""

    pods: list[Pod]


class Myself(msgspec.Struct, kw_only=True, rename={"balance_usd": "clientBalance"}):
    """The account by GraphQL; REST v2 tells no balance."""

    balance_usd: float | None = None


class MyselfData(msgspec.Struct, kw_only=True):
    """What a query of the account gives."""

    myself: Myself | None = None


class MyselfAnswer(msgspec.Struct, kw_only=True):
    """The envelope of GraphQL; no data beside errors."""

    data: MyselfData | None = None


class Problem(msgspec.Struct, kw_only=True):
    """An error as RFC 9457 has it; `errors` lists each violation of a 422."""

    title: str = ""
    status: int = 0
    detail: str = ""
    errors: list[str] = []
