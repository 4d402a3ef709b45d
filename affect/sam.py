"""Sharpness-aware minimisation (Foret et al. 2021, arXiv 2010.01412): one idea, two phases, two methods."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class SAM(Optimizer):
    """Step with the gradient taken at the worst point of a ball of radius rho around the weights.

    A step is: backward; `ascend()`; zero_grad; backward at the raised weights; `step()`. Parameters without a gradient
    take no part. The state is the inner optimiser's alone, so saving and resuming are exact between steps.

    Args:
        base: The inner optimiser, for instance Adam; its param groups and state are shared.
        rho: Radius of the ball in the Euclidean norm over all parameters.

    Raises:
        ValueError: If rho is not positive.
    """

    def __init__(self, base: Optimizer, rho: float = 0.05) -> None:
        if rho <= 0:
            raise ValueError(f"rho must be positive, got {rho}; without ascent, use the inner optimiser itself")
        super().__init__(base.param_groups, base.defaults)
        self.base = base
        self.rho = rho
        self._raised: list[Tensor] = []
        self._original: list[Tensor] = []
        self._share()

    def _share(self) -> None:
        self.param_groups = self.base.param_groups
        self.state = self.base.state

    @torch.no_grad()
    def ascend(self) -> None:
        """Climb to the worst point: w + rho g / |g|, with the gradients of the batch.

        Raises:
            RuntimeError: If called twice without a step, or without gradients.
        """
        if self._raised:
            raise RuntimeError("SAM.ascend() was called twice without step()")
        parameters = [p for group in self.param_groups for p in group["params"] if p.grad is not None]
        if not parameters:
            raise RuntimeError("SAM.ascend() needs gradients: call backward first")
        gradients = [p.grad for p in parameters]
        norm = torch.stack(torch._foreach_norm(gradients)).norm()
        # Kept as a tensor: reading it would stop a GPU's queue at every step.
        offsets = torch._foreach_mul(gradients, self.rho / (norm + 1e-12))
        self._raised = parameters
        self._original = [p.detach().clone() for p in parameters]
        torch._foreach_add_(parameters, offsets)
        # Autocast keeps low-precision copies of weights until its context ends; these are of the old weights.
        torch.clear_autocast_cache()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Return to the weights before `ascend()` and let the inner optimiser step from there.

        Without a preceding `ascend()` this is the inner optimiser's plain step. The closure, if any, is called first.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if self._raised:
            torch._foreach_copy_(self._raised, self._original)
            self._raised, self._original = [], []
        self.base.step()
        return loss

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Clear the gradients."""
        self.base.zero_grad(set_to_none)

    def state_dict(self) -> dict[str, Any]:
        """Return the inner optimiser's state.

        Raises:
            RuntimeError: Between `ascend()` and `step()`, when the weights are not the model's.
        """
        if self._raised:
            raise RuntimeError("SAM cannot be saved between ascend() and step()")
        return self.base.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the inner optimiser's state."""
        self.base.load_state_dict(state_dict)
        self._share()


@contextlib.contextmanager
def frozen_batch_statistics(module: nn.Module) -> Iterator[None]:
    """Normalise by the batch without moving running statistics, for SAM's second pass over the same batch."""
    layers = [
        layer
        for layer in module.modules()
        if isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.track_running_stats
    ]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
