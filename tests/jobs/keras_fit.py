"""An ordinary Keras script that saves nothing."""

# ruff: noqa: ARG002

import os
import time

os.environ["KERAS_BACKEND"] = "jax"

import keras
import numpy as np


class Show(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print("epoch", epoch, flush=True)

    def on_epoch_end(self, epoch, logs=None):
        time.sleep(0.5)


def main():
    keras.utils.set_random_seed(3)
    x = np.random.default_rng(1).normal(size=(128, 8)).astype("float32")
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(16), keras.layers.Dense(1)])
    model.compile("adam", "mse")
    model.fit(x, x.sum(1), epochs=8, batch_size=16, verbose=0, callbacks=[Show()])
    print("iterations", int(model.optimizer.iterations.value), flush=True)


if __name__ == "__main__":
    main()
