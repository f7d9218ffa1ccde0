"""Interpolation of tensors: lerp, slerp and the evaluation of blends. Pure functions."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from render.core import Blend, Circle, Leaf, Mix, Offset
from render.models import copy_to

__all__ = ["circle", "evaluate", "interpolate", "lerp", "offset", "slerp"]

PARALLEL = 0.9995  # |cosine| above which slerp would divide by a sine that is too small


def lerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Return `(1 - t)·a + t·b`, computed in float32 and cast back. `a` and `b` have the same shape."""
    return torch.lerp(a.float(), b.float(), t).to(a.dtype)


def slerp(a: Tensor, b: Tensor, t: float, per_vector: bool) -> Tensor:
    """Interpolate spherically (Shoemake, "Animating rotation with quaternion curves", SIGGRAPH 1985).

    With `per_vector` each vector along the last dimension has its own angle (for `[tokens, dim]`: one a token), otherwise
    one angle is taken for the whole tensor. Computed in float32, since norms overflow in half precision. Vectors that are
    nearly parallel or antiparallel are interpolated linearly.
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
    """Interpolate by `how`: `lerp`, `slerp` (an angle for each vector) or `slerp-global` (one angle); t is 0 at `a`."""
    if how == "lerp":
        return lerp(a, b, t)
    return slerp(a, b, t, per_vector=how == "slerp")


def circle(a: Tensor, b: Tensor, turn: float) -> Tensor:
    """Return `cos(2π·turn)·a + sin(2π·turn)·b`, computed in float32 and cast back.

    For two independent standard normal tensors the result is standard normal, too.
    """
    angle = 2 * math.pi * turn
    return (math.cos(angle) * a.float() + math.sin(angle) * b.float()).to(a.dtype)


def offset(a: Tensor, along: int | None, amount: float) -> Tensor:
    """Return `a + amount·direction`, computed in float32 and cast back.

    The direction is standard normal noise of the seed `along`, or all ones if `along` is None.
    """
    if along is None:
        return (a.float() + amount).to(a.dtype)
    direction = copy_to(torch.randn(a.shape, generator=torch.Generator().manual_seed(along)), a.device)
    return (a.float() + amount * direction).to(a.dtype)


def evaluate(blend: Blend, leaf: Callable[[Leaf], Tensor], linear: bool = False) -> Tensor:
    """Return the tensor of a blend, given a function that returns the tensor of a leaf (a prompt, a seed, an image).

    `linear` is for tensors such as attention masks: every mix is a lerp, and offsets are left out.
    """
    if isinstance(blend, Mix):
        ends = evaluate(blend.a, leaf, linear), evaluate(blend.b, leaf, linear)
        return interpolate("lerp" if linear else blend.how, *ends, blend.t)
    if isinstance(blend, Circle):
        return circle(evaluate(blend.a, leaf, linear), evaluate(blend.b, leaf, linear), blend.turn)
    if isinstance(blend, Offset):
        inner = evaluate(blend.a, leaf, linear)
        return inner if linear else offset(inner, blend.along, blend.amount)
    return leaf(blend)
