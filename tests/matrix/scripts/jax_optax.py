"""JAX + optax: a jitted step, an MLP in plain dicts; saves the parameters once, at the end."""

import argparse
import csv
import pickle
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=24000)
parser.add_argument("--width", type=int, default=256)
parser.add_argument("--outdir", type=Path, default=Path("jax_out"))
FLAGS = parser.parse_args()


def init(key, sizes):
    keys = jax.random.split(key, len(sizes))
    return [
        {"w": jax.random.normal(k, (i, o)) * (2 / i) ** 0.5, "b": jnp.zeros(o)}
        for k, i, o in zip(keys, sizes[:-1], sizes[1:])
    ]


def forward(params, x):
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["w"] + layer["b"])
    return x @ params[-1]["w"] + params[-1]["b"]


def loss_fn(params, x, y):
    return jnp.mean((forward(params, x) - y) ** 2)


def main():
    key = jax.random.PRNGKey(0)
    key, sub = jax.random.split(key)
    params = init(sub, [16, FLAGS.width, FLAGS.width, 1])
    schedule = optax.warmup_cosine_decay_schedule(0.0, 3e-3, 100, FLAGS.steps)
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(schedule))
    state = tx.init(params)
    rng = np.random.default_rng(0)
    data = rng.standard_normal((8192, 16)).astype(np.float32)
    target = np.sin(data[:, :1] * 2) + data[:, 1:2] * data[:, 2:3]

    @jax.jit
    def step(params, state, x, y, key):
        x = x + 0.01 * jax.random.normal(key, x.shape)
        loss, grads = jax.value_and_grad(loss_fn)(params, x, y)
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    FLAGS.outdir.mkdir(exist_ok=True)
    with open(FLAGS.outdir / "loss.csv", "w") as f:
        out = csv.writer(f)
        for i in range(FLAGS.steps):
            key, sub = jax.random.split(key)
            idx = rng.integers(0, len(data), 128)
            params, state, loss = step(params, state, data[idx], target[idx], sub)
            if i % 20 == 0:
                out.writerow([i, float(loss)])
                print(i, float(loss), flush=True)
    with open(FLAGS.outdir / "params.pkl", "wb") as f:
        pickle.dump(jax.device_get(params), f)
    with open(FLAGS.outdir / "opt_state.pkl", "wb") as f:
        pickle.dump(jax.tree.leaves(jax.device_get(state)), f)


if __name__ == "__main__":
    main()
