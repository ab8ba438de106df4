# An image for jobs on rented GPUs: CUDA runtime, Python, torch, the HuggingFace stack, and the agent inside,
# so that a machine trains a minute earlier. Any other image works too; this one only saves installing.
#
#   docker build -f agent/training-base.Dockerfile -t you/training-base:0.1.0 .
#   vaultlayer run --gpu A100_40 --image you/training-base:0.1.0 python train.py
#
# The agent in it is used when its version is that of the broker; otherwise the machine installs the right
# one beside it. Everything but torch is pinned by hash in requirements/; torch by version, since it comes in
# one build for each platform. The wheel of torch brings its own CUDA libraries: the host's driver must be
# new enough for these. TORCH_ARGS chooses another build, for older drivers:
#
#   docker build --build-arg TORCH_ARGS="--index-url ADDRESS" …
ARG CUDA_IMAGE=nvidia/cuda:12.8.1-runtime-ubuntu24.04

# What only the build needs stays in this stage.
FROM ${CUDA_IMAGE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY requirements/ requirements/
RUN python3 -m venv /build \
    && /build/bin/python -m pip install --no-cache-dir --require-hashes -r requirements/base.txt
COPY pyproject.toml README.md LICENSE ./
COPY vaultlayer/ vaultlayer/
COPY actors/ actors/
COPY agent/ agent/
COPY cli/ cli/
RUN /build/bin/python -m pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

FROM ${CUDA_IMAGE}
# gcc and Python's headers are for torch.compile; git and curl for what people's scripts fetch.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates curl gcc git libc6-dev python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

# The agent has a place of its own: no version that it needs is forced on the script.
COPY requirements/agent.txt /tmp/requirements/
COPY --from=build /wheels/ /tmp/wheels/
RUN python3 -m venv /opt/vaultlayer \
    && /opt/vaultlayer/bin/python -m pip install --no-cache-dir --require-hashes \
        -r /tmp/requirements/agent.txt \
    && /opt/vaultlayer/bin/python -m pip install --no-cache-dir --no-deps /tmp/wheels/*.whl \
    && ln -s /opt/vaultlayer/bin/vaultlayer-agent /usr/local/bin/vaultlayer-agent \
    && vaultlayer-agent --version \
    && rm -rf /tmp/requirements /tmp/wheels

# The script's own Python; `pip install` in a job adds to it.
ARG TORCH_ARGS=""
COPY requirements/torch.txt requirements/train.txt /tmp/requirements/
RUN python3 -m venv /opt/train \
    && /opt/train/bin/python -m pip install --no-cache-dir ${TORCH_ARGS} \
        -r /tmp/requirements/torch.txt \
    && /opt/train/bin/python -m pip install --no-cache-dir --require-hashes --no-deps \
        -r /tmp/requirements/train.txt \
    && /opt/train/bin/python -c "import torch, transformers, accelerate" \
    && rm -rf /tmp/requirements
ENV PATH=/opt/train/bin:${PATH} \
    PYTHONUNBUFFERED=1

# No ENTRYPOINT: each provider starts containers in its own way, and brings the boot script.
WORKDIR /workspace
CMD ["/bin/bash"]
