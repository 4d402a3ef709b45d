import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from callbacks.best_per_head import BestPerHead

ACCURACY = [0.1, 0.5, 0.5, 0.2]
LOSS = [3.0, 2.0, 1.0, 1.5]


class Counting(pl.LightningModule):
    """Adds 1 to each head's weight per epoch and reports scripted monitors."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.heads = nn.ModuleDict({name: nn.Linear(1, 1) for name in ("up", "down", "unlabelled")})
        for head in self.heads.values():
            nn.init.zeros_(head.weight)

    def training_step(self, batch: Tensor, batch_idx: int) -> None:
        with torch.no_grad():
            for head in self.heads.values():
                head.weight += 1

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("accuracy", ACCURACY[self.current_epoch])
        self.log("loss", LOSS[self.current_epoch])

    def configure_optimizers(self) -> None:
        return None


def fit(module: Counting, callback: BestPerHead, epochs: int, **kwargs: object) -> pl.Trainer:
    loader = DataLoader(torch.zeros(1, 1))
    trainer = pl.Trainer(
        accelerator="cpu", max_epochs=epochs, callbacks=[callback], logger=False, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False, num_sanity_val_steps=1,
    )  # fmt: skip
    trainer.fit(module, loader, loader, **kwargs)  # type: ignore[arg-type]
    return trainer


def make() -> BestPerHead:
    return BestPerHead({
        "heads.up": ("accuracy", "max"), "heads.down": ("loss", "min"), "heads.unlabelled": ("absent", "max"),
    })  # fmt: skip


def test_each_head_ends_with_its_own_best_epoch() -> None:
    module, callback = Counting(), make()
    fit(module, callback, 4)
    weights = {name: float(head.weight) for name, head in module.heads.items()}
    assert weights == {"up": 2, "down": 3, "unlabelled": 4}, "the first of equals; the last without a monitor"
    assert callback.best_epoch == {"heads.up": 2, "heads.down": 3}
    assert callback.best_value == {"heads.up": 0.5, "heads.down": 1.0}


def test_what_was_best_survives_a_stop() -> None:
    callback = make()
    fit(Counting(), callback, 2)
    restored, module = make(), Counting()
    restored.load_state_dict(callback.state_dict())
    restored.on_train_end(pl.Trainer(logger=False, enable_checkpointing=False), module)
    assert float(module.heads["up"].weight) == 2
