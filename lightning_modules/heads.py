"""Multi-task heads on features (Savchenko 2022, arXiv 2207.09508, section 3.2)."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor

from affect.head_losses import HeadLoss
from affect.labels import MISSING_EXPRESSION
from affect.mtl_score import MultiTaskScore
from affect.networks.heads import JointHeads, SeparateHeads, create_heads, probabilities


class HeadsModule(pl.LightningModule):
    """Train the heads of all tasks side by side, each on batches of its own rows, or jointly.

    Separate heads share no parameter, so training them in one loop is the same as one after the other.

    Args:
        network: `separate`, `slice` or `joint`.
        inputs: What the heads see: `features`, `outputs` or `both`.
        num_features: Width of the pooled features.
        num_outputs: Width of the backbone's outputs that follow them.
        num_hidden: Width of the action units' hidden layer; 0 for none.
        learning_rate: Of Adam.
        l2: Factor of the sum of squared weights (not of biases) in the loss of expression and valence/arousal, or of
            the joint network's three layers.
        class_weights: Of expressions, 8 values; None weighs all alike.
        unit_weights: Of inactive and active action units, 2 x 12 values; None weighs all alike.
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
        class_weights: Sequence[float] | None = None,
        unit_weights: Sequence[Sequence[float]] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        # Several steps at a time. Under bfloat16 they share an autocast context, which must not cache weights: that of
        # Lightning does not, from 2.6 on.
        self.automatic_optimization = False
        self.heads: SeparateHeads | JointHeads = create_heads(
            network, inputs, num_features, num_outputs, num_hidden
        )
        self.learning_rate = learning_rate
        self.l2 = l2
        self.loss = HeadLoss(
            None if class_weights is None else torch.tensor(class_weights),
            None if unit_weights is None else torch.tensor(unit_weights),
        )
        self.score = MultiTaskScore()
        self._sums: dict[str, Tensor] = {}
        self._steps: dict[str, int] = {}
        self._val_losses: dict[str, tuple[Tensor, int]] = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Make one Adam for all heads; it leaves alone those that a batch does not train."""
        decayed = self._decayed()
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
            outputs = (
                {group: self.heads.forward_task(group, part["feature"])}
                if isinstance(self.heads, SeparateHeads)
                else self.heads(part["feature"])
            )
            losses |= self.loss.total(outputs, part)
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
        self.score.update(probabilities(outputs), batch)
        counts = {
            "expression": int((batch["expression"] != MISSING_EXPRESSION).sum()),
            "action_units": int((~batch["action_units"].isnan()).sum()),
        }
        for task, count in counts.items():
            if count:
                total, labels = self._val_losses.get(task, (torch.zeros(()), 0))
                loss = self.loss(task, outputs[task], batch[task])
                self._val_losses[task] = total + loss.cpu() * count, labels + count

    def on_validation_epoch_end(self) -> None:
        """Log P_MTL with its parts, and each task's loss over the whole set, without labels none.

        `val/valence_arousal_loss` of a separate head includes its penalty, as does `val/joint_loss`, the sum of the
        joint network's losses: epochs are chosen by them.
        """
        scores = {name: value.float() for name, value in self.score.compute().items()}
        self.score.reset()
        losses = {task: total / labels for task, (total, labels) in self._val_losses.items()}
        self._val_losses = {}
        if "va_ccc" in scores:
            losses["valence_arousal"] = 1 - scores["va_ccc"].cpu()
        if isinstance(self.heads, JointHeads) and losses:
            losses["joint"] = torch.stack(list(losses.values())).sum() + self._penalty()
        elif "valence_arousal" in losses:
            losses["valence_arousal"] = losses["valence_arousal"] + self._penalty("valence_arousal")
        scores |= {f"{name}_loss": value for name, value in losses.items()}
        self.log_dict({f"val/{name}": value for name, value in scores.items()})

    def monitors(self) -> dict[str, tuple[str, str]]:
        """Name what each head's best epoch is judged by: submodule, then metric and mode, as published."""
        if isinstance(self.heads, JointHeads):
            return {"heads": ("val/joint_loss", "min")}
        return {
            "heads.heads.expression": ("val/expression_accuracy", "max"),
            "heads.heads.valence_arousal": ("val/valence_arousal_loss", "min"),
            "heads.heads.action_units": ("val/action_units_loss", "min"),
        }

    def _penalty(self, *tasks: str) -> Tensor:
        squares = [weight.detach().square().sum().cpu() for weight in self._decayed(*tasks)]
        return self.l2 * sum(squares, torch.zeros(()))

    def _decayed(self, *tasks: str) -> list[torch.nn.Parameter]:
        """Give the weights that the penalty is on: of some tasks' heads, or of all that have one."""
        if not self.l2:
            return []
        layers: list[torch.nn.Module] = [self.heads]
        if isinstance(self.heads, SeparateHeads):
            layers = [self.heads.heads[task] for task in tasks or ("expression", "valence_arousal")]
        return [
            parameter
            for layer in layers
            for name, parameter in layer.named_parameters()
            if name.endswith("weight")
        ]
