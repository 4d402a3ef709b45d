"""Multi-task heads on features (Savchenko 2022, arXiv 2207.09508, section 3.2)."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from affect.mtl_score import MultiTaskScore
from affect.networks.heads import create_heads
from affect.tasks import TASKS, TaskLoss, predictions


class HeadsModule(pl.LightningModule):
    """Train the groups of a head network side by side, each on batches of its own rows.

    Groups share no parameter, so training them in one loop is the same as one after the other.

    Args:
        network: One of `affect.networks.heads.NETWORKS`.
        inputs: What the heads see: `features`, `outputs` or `both`.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them.
        num_hidden: Width of the action units' hidden layer; 0 for none.
        learning_rate: Of Adam.
        l2: Factor of the sum of squared weights (not of biases) in the loss, of those that the network penalises.
        label_weights: By task, as from `Task.label_weights`; a task that is absent weighs all labels alike.
    """

    def __init__(
        self,
        network: str,
        inputs: str,
        num_features: int,
        num_outputs: int,
        num_hidden: int = 128,
        learning_rate: float = 1e-3,
        l2: float = 0.0,
        label_weights: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        # Several steps at a time. Under bfloat16 they share an autocast context, which must not cache weights: that of
        # Lightning does not, from 2.6 on.
        self.automatic_optimization = False
        self.heads = create_heads(network, inputs, num_features, num_outputs, num_hidden)
        self.learning_rate = learning_rate
        self.l2 = l2
        self.loss = TaskLoss({task: torch.tensor(values) for task, values in (label_weights or {}).items()})
        self.score = MultiTaskScore()
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}
        self._val_losses: dict[str, tuple[Tensor, int]] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make one Adam for all heads; it leaves alone those that a batch does not train."""
        decayed = [weight for group in self.heads.groups for weight in self._penalised(group)]
        chosen = {id(parameter) for parameter in decayed}
        others = [parameter for parameter in self.heads.parameters() if id(parameter) not in chosen]
        groups: list[dict[str, Any]] = [{"params": others}]
        if decayed:
            # Adam's own weight decay adds 2 l2 w to the gradient of w: just what l2 w^2 in the loss does.
            groups.append({"params": decayed, "weight_decay": 2 * self.l2})
        return torch.optim.Adam(groups, lr=self.learning_rate, fused=True)

    def training_step(self, batch: Iterable[Mapping[str, dict[str, Tensor]]], batch_idx: int) -> None:
        """Take a step for each of the batches, on the sum of the losses of its tasks."""
        optimizer: Any = self.optimizers()
        for tasks in batch:
            loss = self._loss(tasks)
            optimizer.zero_grad()
            self.manual_backward(loss)
            optimizer.step()

    def _loss(self, batch: Mapping[str, dict[str, Tensor]]) -> Tensor:
        losses: dict[str, Tensor] = {}
        for group, part in batch.items():
            losses |= self.loss.total(self.heads.forward_group(group, part["feature"]), part)
        for task, value in losses.items():
            self._sums[task] = self._sums.get(task, 0) + value.detach()
            self._steps[task] = self._steps.get(task, 0) + 1
        return torch.stack(list(losses.values())).sum()

    def on_train_epoch_end(self) -> None:
        """Log each task's mean loss over the epoch; once, since a log call costs as much as a tenth of a step."""
        self.log_dict({f"train/{task}_loss": self._sums[task] / self._steps[task] for task in self._sums})
        self._sums, self._steps = {}, {}

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Score a slice."""
        outputs = self.heads(batch["feature"])
        self.score.update(predictions(outputs), batch)
        for task, values in outputs.items():
            if not TASKS[task].loss_is_mean:
                continue
            count = int(TASKS[task].known(batch[task]).sum())
            if count:
                total, labels = self._val_losses.get(task, (torch.zeros(()), 0))
                loss = self.loss(task, values, batch[task])
                self._val_losses[task] = total + loss.cpu() * count, labels + count

    def on_validation_epoch_end(self) -> None:
        """Log P_MTL with its parts, and each task's loss over the whole set, without labels none.

        A loss that an epoch is chosen by, `val/<group>_loss`, is the sum of the group's losses with its penalty.
        """
        scores = {name: value.float() for name, value in self.score.compute().items()}
        self.score.reset()
        losses = self._whole_set_losses(scores)
        for group, tasks in self.heads.groups.items():
            terms = [value for task, value in losses.items() if task in tasks]
            if terms and self.heads.monitor(group).metric == f"{group}_loss":
                losses[group] = torch.stack(terms).sum() + self._penalty(group)
        scores |= {f"{name}_loss": value for name, value in losses.items()}
        self.log_dict({f"val/{name}": value for name, value in scores.items()})

    def _whole_set_losses(self, scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Compute the loss of each task that has labels, as the mean over them or from its score."""
        losses = {task: total / labels for task, (total, labels) in self._val_losses.items()}
        self._val_losses = {}
        for name, task in TASKS.items():
            if not task.loss_is_mean and task.score in scores:
                losses[name] = 1 - scores[task.score].cpu()
        return losses

    def monitors(self) -> dict[str, tuple[str, str]]:
        """Name what each group's best epoch is judged by: submodule, then metric and mode, as published."""
        monitors = (self.heads.monitor(group) for group in self.heads.groups)
        return {
            f"heads.{monitor.submodule}".rstrip("."): (f"val/{monitor.metric}", monitor.mode) for monitor in monitors
        }

    def _penalised(self, group: str) -> list[torch.nn.Parameter]:
        return self.heads.penalised(group) if self.l2 else []

    def _penalty(self, group: str) -> Tensor:
        squares = [weight.detach().square().sum().cpu() for weight in self._penalised(group)]
        return self.l2 * sum(squares, torch.zeros(()))
