"""An ordinary Lightning script that never says where to go on from."""

import argparse
import logging
import time
import warnings

import lightning
import torch

warnings.filterwarnings("ignore")
logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)


class Model(lightning.LightningModule):
    def __init__(self, width):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(8, width), torch.nn.Linear(width, 1))

    def training_step(self, batch, index):
        if index == 0:
            print("epoch", self.current_epoch, flush=True)
        time.sleep(0.06)
        return (self.net(batch[0]).squeeze(1) - batch[0].sum(1)).square().mean()

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=1e-2)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--width", type=int, default=16)
    parser.add_argument("--from-path")
    given = parser.parse_args()
    lightning.seed_everything(3)
    rows = torch.utils.data.TensorDataset(torch.randn(128, 8))
    trainer = lightning.Trainer(
        max_epochs=8,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir="runs here",
    )
    model = Model(given.width)
    trainer.fit(
        model, torch.utils.data.DataLoader(rows, 16, shuffle=True), ckpt_path=given.from_path
    )
    print("steps", trainer.global_step, flush=True)


if __name__ == "__main__":
    main()
