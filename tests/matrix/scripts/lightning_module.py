"""Lightning: a module, ModelCheckpoint on the validation loss, a CSV logger."""

import lightning as L
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Autoencoder(L.LightningModule):
    def __init__(self, width=96, lr=1e-3):
        super().__init__()
        self.save_hyperparameters()
        self.encoder = nn.Sequential(
            nn.Linear(48, width), nn.ReLU(), nn.Dropout(0.1), nn.Linear(width, 4)
        )
        self.decoder = nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 48))

    def step(self, batch):
        (x,) = batch
        return nn.functional.mse_loss(self.decoder(self.encoder(x)), x)

    def training_step(self, batch, batch_idx):
        loss = self.step(batch)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.step(batch), prog_bar=True)

    def configure_optimizers(self):
        opt = torch.optim.Adam(self.parameters(), lr=self.hparams.lr)
        return {"optimizer": opt, "lr_scheduler": torch.optim.lr_scheduler.ExponentialLR(opt, 0.95)}


def main():
    L.seed_everything(12)
    basis = torch.randn(4, 48)
    x = torch.tanh(torch.randn(1400, 4) @ basis) + 0.05 * torch.randn(1400, 48)
    train = DataLoader(TensorDataset(x[:1200]), batch_size=20, shuffle=True)
    val = DataLoader(TensorDataset(x[1200:]), batch_size=100)
    model = Autoencoder()
    trainer = L.Trainer(
        max_epochs=10,
        accelerator="cpu",
        log_every_n_steps=5,
        enable_progress_bar=False,
        logger=CSVLogger("lightning", name="ae", version=0),
        callbacks=[ModelCheckpoint(dirpath="lightning/best", monitor="val_loss", filename="best")],
    )
    trainer.fit(model, train, val)
    torch.save(model.state_dict(), "lightning/final.pt")
    torch.save(trainer.optimizers[0].state_dict(), "lightning/optimizer.pt")


if __name__ == "__main__":
    main()
