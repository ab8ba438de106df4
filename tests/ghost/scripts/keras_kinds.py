"""Keras on torch: `fit`, a `train_step` of one's own, a loop of one's own, an optimizer of torch."""

import hashlib
import os
import sys

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch
from keras import layers

keras.utils.set_random_seed(15)
rng = np.random.default_rng(15)
x = rng.standard_normal((500, 16)).astype("float32")
told = []
y = (np.sin(x[:, 0] * 2) + x[:, 1] * x[:, 2] > 0).astype("int64")


def make_model():
    return keras.Sequential(
        [
            keras.Input((16,)),
            layers.Dense(32, activation="gelu"),
            layers.Dropout(0.2),
            layers.BatchNormalization(),
            layers.Dense(2),
        ]
    )


def by_fit():
    model = make_model()
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(3e-3), loss=loss, metrics=["accuracy"])
    history = model.fit(
        x[:400],
        y[:400],
        validation_data=(x[400:], y[400:]),
        epochs=5,
        batch_size=20,
        verbose=0,
        callbacks=[
            keras.callbacks.CSVLogger("log.csv"),
            keras.callbacks.ReduceLROnPlateau(patience=1),
            keras.callbacks.EarlyStopping(patience=4, restore_best_weights=True),
        ],
    )
    told.append(history.history)
    return model


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.inner = layers.Dense(32, activation="tanh")
        self.drop = layers.Dropout(0.1)
        self.outer = layers.Dense(1)
        self.mean = keras.metrics.Mean(name="loss")
        self.error = keras.metrics.MeanAbsoluteError(name="error")

    def call(self, inputs, training=False):
        return self.outer(self.drop(self.inner(inputs), training=training))

    def train_step(self, data):
        inputs, wanted = data
        self.zero_grad()
        found = self(inputs, training=True)
        loss = ((found - wanted[:, None]) ** 2).mean()
        loss.backward()
        apply(self.optimizer, self)
        self.mean.update_state(loss)
        self.error.update_state(wanted[:, None], found)
        return {metric.name: metric.result() for metric in self.metrics}

    @property
    def metrics(self):
        return [self.mean, self.error]


def apply(optimizer, model):
    weights = list(model.trainable_weights)
    gradients = [weight.value.grad for weight in weights]
    with torch.no_grad():
        optimizer.apply(gradients, weights)


def by_train_step():
    model = Own()
    model.compile(optimizer=keras.optimizers.SGD(1e-2, momentum=0.9))
    told.append(model.fit(x, x[:, 0], epochs=5, batch_size=25, verbose=0).history)
    return model


def by_loop():
    model = make_model()
    rows = torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))
    loader = torch.utils.data.DataLoader(rows, batch_size=25, shuffle=True)
    loss_of = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    optimizer = keras.optimizers.AdamW(1e-3)
    accuracy = keras.metrics.SparseCategoricalAccuracy()
    for _ in range(5):
        for inputs, wanted in loader:
            found = model(inputs, training=True)
            loss = loss_of(wanted, found)
            model.zero_grad()
            loss.backward()
            apply(optimizer, model)
            accuracy.update_state(wanted, found)
        told.append((float(accuracy.result()), loss.item()))
        accuracy.reset_state()
    return model


def by_torch_optim():
    model = make_model()
    rows, wanted = torch.tensor(x), torch.tensor(y)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    mean = keras.metrics.Mean()
    for _ in range(5):
        for chosen in torch.randperm(500).split(25):
            optimizer.zero_grad()
            found = model(rows[chosen], training=True)
            loss = torch.nn.functional.cross_entropy(found, wanted[chosen])
            loss.backward()
            optimizer.step()
            mean.update_state(loss.detach())
        told.append(float(mean.result()))
    return model


model = globals()["by_" + sys.argv[1]]()
weights = b"".join(np.asarray(weight).tobytes() for weight in model.get_weights())
print("FINAL", told, hashlib.sha256(weights).hexdigest())
