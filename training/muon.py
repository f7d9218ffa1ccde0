"""Muon, an optimizer for matrices: orthogonalized momentum (K. Jordan, kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonal"]


class Muon(torch.optim.Optimizer):
    """Muon for weights of two or more dimensions; a convolution's filter counts as one row of a matrix.

    `torch.optim.Muon` does not take convolutions, and on most CPUs it is over ten times slower, as it multiplies in
    bfloat16. The step's root mean square is 0.2 · `lr`, about AdamW's (Liu et al. 2025, arXiv:2502.16982).
    """

    def __init__(
        self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Take one step with Nesterov momentum. `closure` comes from the base class and must be None."""
        assert closure is None
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                velocity = self.state[weight].setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                direction = orthogonal(weight.grad.lerp(velocity, group["momentum"]).flatten(1))
                size = 0.2 * max(direction.shape) ** 0.5
                weight.sub_(direction.view_as(weight), alpha=group["lr"] * size)


def orthogonal(matrix: Tensor) -> Tensor:
    """Return roughly the nearest semi-orthogonal matrix: five Newton-Schulz steps, singular values of 0.7 … 1.2."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if wide is not matrix else x
