"""Points between tensors: lerp, slerp and the evaluation of blends. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from render.core import Blend, Circle, Leaf, Mix, Offset

__all__ = ["circle", "evaluate", "interpolate", "lerp", "offset", "slerp"]

PARALLEL = 0.9995  # |cosine| from which the sine in slerp's denominator is too small to divide by


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """`(1 - t)·a + t·b`, computed in float32 and cast back. `a` and `b` have one shape; t is 0 at `a`, 1 at `b`."""
    return torch.lerp(a.float(), b.float(), t).to(a.dtype)


def slerp(a: Tensor, b: Tensor, t: float, per_vector: bool) -> Tensor:
    """Spherical interpolation (Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985).

    `per_vector` takes one angle for every vector along the last dimension (for `[tokens, dim]`: one a token); otherwise
    one angle for the whole tensor. Computed in float32, since norms overflow in half precision. Where two vectors are
    nearly parallel or antiparallel the result is their lerp.
    """
    x, y = a.float(), b.float()
    if not per_vector:
        x, y = x.reshape(1, -1), y.reshape(1, -1)
    norms = x.norm(dim=-1, keepdim=True) * y.norm(dim=-1, keepdim=True)
    cosine = ((x * y).sum(-1, keepdim=True) / norms.clamp_min(torch.finfo(torch.float32).tiny)).clamp(-1, 1)
    straight = (cosine.abs() > PARALLEL) | (norms == 0)
    angle = torch.acos(torch.where(straight, torch.zeros_like(cosine), cosine))
    sine = torch.sin(angle)
    curved = (torch.sin((1 - t) * angle) / sine) * x + (torch.sin(t * angle) / sine) * y
    return torch.where(straight, torch.lerp(x, y, t), curved).reshape(a.shape).to(a.dtype)


def interpolate(how: str, a: Tensor, b: Tensor, t: float) -> Tensor:
    """`lerp`, `slerp` (one angle a vector of the last dimension) or `slerp-global` (one angle) at t."""
    if how == "lerp":
        return lerp(a, b, t)
    return slerp(a, b, t, per_vector=how == "slerp")


def circle(a: Tensor, b: Tensor, turn: float) -> Tensor:
    """`cos(2π·turn)·a + sin(2π·turn)·b` in float32, cast back: of two independent noises a noise of the same deviation."""
    angle = 2 * math.pi * turn
    return (math.cos(angle) * a.float() + math.sin(angle) * b.float()).to(a.dtype)


def offset(a: Tensor, along: int | None, amount: float) -> Tensor:
    """`a + amount·direction` in float32, cast back; the direction is all ones, or standard normal with the seed `along`."""
    if along is None:
        return (a.float() + amount).to(a.dtype)
    direction = torch.randn(a.shape, generator=torch.Generator().manual_seed(along)).to(a.device)
    return (a.float() + amount * direction).to(a.dtype)


def evaluate(blend: Blend, leaf: Callable[[Leaf], Tensor], linear: bool = False) -> Tensor:
    """The tensor a blend stands for, given those of its leaves; one that is `linear` is only ever lerped, and not moved."""
    if isinstance(blend, Mix):
        ends = evaluate(blend.a, leaf, linear), evaluate(blend.b, leaf, linear)
        return interpolate("lerp" if linear else blend.how, *ends, blend.t)
    if isinstance(blend, Circle):
        return circle(evaluate(blend.a, leaf, linear), evaluate(blend.b, leaf, linear), blend.turn)
    if isinstance(blend, Offset):
        inner = evaluate(blend.a, leaf, linear)
        return inner if linear else offset(inner, blend.along, blend.amount)
    return leaf(blend)
