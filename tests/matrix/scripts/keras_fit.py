"""Keras 3 on the torch backend: compile, fit, CSVLogger, ModelCheckpoint."""

import os

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers

keras.utils.set_random_seed(15)
rng = np.random.default_rng(15)
x = rng.standard_normal((1200, 24)).astype("float32")
y = (np.sin(x[:, 0] * 2) + x[:, 1] * x[:, 2] > 0).astype("int32")

model = keras.Sequential(
    [
        keras.Input((24,)),
        layers.Dense(96, activation="relu"),
        layers.Dropout(0.2),
        layers.Dense(96, activation="relu"),
        layers.BatchNormalization(),
        layers.Dense(2),
    ]
)
model.compile(
    optimizer=keras.optimizers.Adam(1e-3),
    loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    metrics=["accuracy"],
)
os.makedirs("keras", exist_ok=True)
model.fit(
    x[:1000],
    y[:1000],
    validation_data=(x[1000:], y[1000:]),
    epochs=9,
    batch_size=16,
    verbose=2,
    callbacks=[
        keras.callbacks.CSVLogger("keras/log.csv"),
        keras.callbacks.ModelCheckpoint(
            "keras/best.weights.h5", save_best_only=True, save_weights_only=True
        ),
    ],
)
np.savez("keras/final.npz", *model.get_weights())
np.savez("keras/optimizer.npz", *[np.asarray(v.value.detach()) for v in model.optimizer.variables])
