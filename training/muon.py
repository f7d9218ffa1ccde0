"""Muon, the optimizer of matrices: momentum made orthogonal (K. Jordan, kellerjordan.github.io/posts/muon, 2024)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonal"]


class Muon(torch.optim.Optimizer):
    """For weights of two and more dimensions; a convolution's filter counts as one row.

    `torch.optim.Muon` takes neither convolutions nor, on most CPUs, less than ten times as long: it multiplies in
    bfloat16. The step's root mean square is 0.2 · `lr`, about AdamW's (Liu et al. 2025, arXiv:2502.16982).
    """

    def __init__(
        self, parameters: Iterable[Tensor] | Iterable[dict[str, Any]], lr: float, momentum: float = 0.95
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step of Nesterov momentum. `closure` is there for the base class and has to be None."""
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
    """The nearest semi-orthogonal matrix, roughly: singular values of 0.7 … 1.2 after five Newton-Schulz steps."""
    wide = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x: Tensor = wide / (wide.norm() + 1e-7)
    for _ in range(5):
        square = x @ x.T
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.T if wide is not matrix else x
