"""JAX + Orbax: saves every hundred steps, and goes on from its latest step when there is one."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

STEPS, SAVE = 2400, 150
ROOT = os.path.abspath("orbax_run")


def batch(step):
    key = jax.random.fold_in(jax.random.PRNGKey(7), step)
    x = jax.random.normal(key, (128, 12))
    return x, jnp.sin(3 * x[:, :1]) + x[:, 1:2] ** 2


def predict(params, x):
    h = jnp.tanh(x @ params["w1"] + params["b1"])
    h = jnp.tanh(h @ params["w2"] + params["b2"])
    return h @ params["w3"]


tx = optax.adam(2e-3)


@jax.jit
def update(state, x, y):
    params, opt = state["params"], state["opt"]
    loss, grads = jax.value_and_grad(lambda p: jnp.mean((predict(p, x) - y) ** 2))(params)
    changes, opt = tx.update(grads, opt)
    return {"params": optax.apply_updates(params, changes), "opt": opt}, loss


def main():
    k1, k2, k3 = jax.random.split(jax.random.PRNGKey(1), 3)
    params = {
        "w1": jax.random.normal(k1, (12, 192)) * 0.3,
        "b1": jnp.zeros(192),
        "w2": jax.random.normal(k2, (192, 192)) * 0.1,
        "b2": jnp.zeros(192),
        "w3": jax.random.normal(k3, (192, 1)) * 0.1,
    }
    state = {"params": params, "opt": tx.init(params)}
    manager = ocp.CheckpointManager(
        ROOT, options=ocp.CheckpointManagerOptions(save_interval_steps=SAVE, max_to_keep=3)
    )
    start = 0
    if manager.latest_step() is not None:
        state = manager.restore(manager.latest_step(), args=ocp.args.StandardRestore(state))
        start = manager.latest_step() + 1
        print("resuming at", start, flush=True)
    for step in range(start, STEPS):
        state, loss = update(state, *batch(step))
        manager.save(step, args=ocp.args.StandardSave(state))
        if step % 100 == 0:
            print(f"step {step} loss {float(loss):.6f}", flush=True)
    manager.wait_until_finished()
    manager.close()
    leaves = jax.tree.leaves(jax.device_get(state["params"]))
    np.savez("final.npz", *leaves)
    np.savez("final_opt.npz", *jax.tree.leaves(jax.device_get(state["opt"])))


if __name__ == "__main__":
    main()
