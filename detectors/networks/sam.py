"""Sharpness-aware minimisation over any optimiser of PyTorch.

Foret, Kleiner, Mobahi, Neyshabur, *Sharpness-Aware Minimization for Efficiently Improving Generalization*, ICLR 2021;
written from the paper.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

_EPSILON = 1e-12


class Sam(torch.optim.Optimizer):
    """Steps with the gradient of the worst point nearby: a minimum must be flat to be one.

    With w the weights and g their gradient, equation 2 climbs to w + radius * g / ||g||, the norm being that of all
    parameters together; equation 3 takes the gradient there, goes back to w, and `base` steps with it.

    The parameter groups are those of the base optimiser, so learning-rate schedules act on it, and the state holds the
    base's alone: between steps the weights are where the base has left them.

    Both passes see the batch in training mode. Batch normalisation therefore moves its running statistics twice, the
    second time at the climbed weights, and dropout draws anew. Several batches cannot be accumulated into one step:
    the second gradient would be that of the last batch alone. A gradient scaler is of no use either, since the climb
    would have to undo its scale first; bfloat16 needs none.

    Args:
        params: Parameters, or groups of them.
        base: Class of the optimiser that takes the step.
        radius: How far to climb (the paper's rho), a distance in weights.
        base_options: Of the base optimiser, such as lr and momentum.

    Attributes:
        base: The optimiser that takes the step.
        climbed: True while `step` takes the second gradient, so that a training can tell the two passes apart.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict],
        base: type[torch.optim.Optimizer] = torch.optim.SGD,
        *,
        radius: float = 0.05,
        **base_options: Any,
    ):
        if radius < 0:
            raise ValueError(f"a radius is not negative, found {radius}")
        self.base = base(params, **base_options)
        self.climbed = False
        super().__init__(self.base.param_groups, {**self.base.defaults, "radius": radius})

    def step(self, closure: Callable[[], Tensor]) -> Tensor:  # type: ignore[override]  # it cannot do without one
        """One step.

        Args:
            closure: Clears the gradients, computes the loss and its gradients, and returns the loss; called twice.

        Returns:
            The loss at the weights before the step.
        """
        closure = torch.enable_grad()(closure)
        loss = closure()
        weights = self._climb()
        self.zero_grad()
        self.climbed = True
        try:
            closure()
        finally:
            self.climbed = False
            self._return_to(weights)
        # loading a state gives this optimiser new groups and a new state
        self.base.param_groups, self.base.state = self.param_groups, self.state
        self.base.step()
        return loss

    @torch.no_grad()
    def _climb(self) -> list[tuple[nn.Parameter, Tensor]]:
        """Move every parameter that has a gradient uphill; the parameters and their values before."""
        moving = [
            (parameter, group["radius"])
            for group in self.param_groups
            for parameter in group["params"]
            if parameter.grad is not None
        ]
        if not moving:
            return []
        norms = torch._foreach_norm([parameter.grad for parameter, _ in moving])
        norm = torch.stack([value.float() for value in norms]).norm() + _EPSILON
        weights = [(parameter, parameter.clone()) for parameter, _ in moving]
        for parameter, radius in moving:
            parameter.add_(parameter.grad * (radius / norm).to(parameter.dtype))
        return weights

    @torch.no_grad()
    def _return_to(self, weights: list[tuple[nn.Parameter, Tensor]]) -> None:
        # copies, since adding and subtracting the same does not give back the last bit
        for parameter, value in weights:
            parameter.copy_(value)
