"""A JAX loop whose random keys come from the step, and which restores Orbax' newest checkpoint by itself."""

# ruff: noqa: PTH100

import hashlib
import os
import sys
import time

import jax
import jax.numpy as jnp
import optax
import orbax.checkpoint as ocp

STEPS, EVERY = 30, 4


def loss_of(params, key):
    x = jax.random.normal(key, (16, 8))
    return jnp.mean((x @ params["w"] + params["b"] - x.sum(1)) ** 2)


def main():
    optimizer = optax.adam(1e-2)
    params = {"w": jnp.zeros(8), "b": jnp.zeros(())}
    state = {"params": params, "opt": optimizer.init(params)}
    manager = ocp.CheckpointManager(
        os.path.abspath("ckpt"),
        options=ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False),
    )
    done = manager.latest_step() or 0
    if done:
        state = manager.restore(done, args=ocp.args.StandardRestore(state))
    print("starts after", done, flush=True)

    @jax.jit
    def train(state, key):
        grads = jax.grad(loss_of)(state["params"], key)
        updates, opt = optimizer.update(grads, state["opt"])
        return {"params": optax.apply_updates(state["params"], updates), "opt": opt}

    for step in range(done + 1, STEPS + 1):
        state = train(state, jax.random.fold_in(jax.random.key(5), step))
        if step % EVERY == 0:
            manager.save(step, args=ocp.args.StandardSave(state))
        time.sleep(float(sys.argv[1]))
    digest = hashlib.sha256(b"".join(x.tobytes() for x in jax.tree.leaves(jax.device_get(state))))
    print("digest", digest.hexdigest(), flush=True)
    manager.close()


if __name__ == "__main__":
    main()
