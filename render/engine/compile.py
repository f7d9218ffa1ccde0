"""Compile the network and the decoder of a loaded pipeline with `torch.compile`.

Compiled are the whole UNet, of transformers each repeated block (all of one class share what is compiled), and the
decoder of the autoencoder. Every image size and batch size is compiled once, at its first call. Tiled decoding is not
compiled: its tiles have many shapes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from render.core import ModelError, user_cache

__all__ = ["CompiledParts", "blocks_of"]

SHAPES_MAX = 64  # image sizes, batch sizes and kinds of block that one class of modules is compiled for


class CompiledParts:
    """The compiled parts of a pipeline. Its modules are changed in place: their calls run compiled from now on."""

    def __init__(self, pipeline: Any, device: torch.device) -> None:
        """Wrap the parts of `pipeline`. Compiling itself happens at the first call with each shape."""
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(user_cache("inductor")))
        settings: dict[str, Any] = {"dynamic": False, "options": compile_options(device)}
        self._modules = _modules_of(pipeline)
        for module in self._modules:
            module.compile(**settings)
            module._compiled_call_impl = _within_limits(module._compiled_call_impl)
        self._calls: list[Callable[..., Any] | None] = [module._compiled_call_impl for module in self._modules]
        decode = _within_limits(torch.compile(pipeline.vae.decode, **settings))
        # Latents may come in any layout in memory, and each would be compiled for.
        pipeline.vae.decode = lambda latents, **options: decode(latents.contiguous(), **options)

    @contextmanager
    def eager(self) -> Iterator[None]:
        """Run the network uncompiled inside the context; the decoder stays compiled, since another thread may use it."""
        for module in self._modules:
            module._compiled_call_impl = None
        try:
            yield
        finally:
            for module, call in zip(self._modules, self._calls, strict=True):
                module._compiled_call_impl = call


def _within_limits(compiled: Callable[..., Any] | None) -> Callable[..., Any]:
    """Return a compiled call that raises over SHAPES_MAX, where torch would go on uncompiled, which gives other bits.

    The limits are set by the thread that calls, at every call: from 2.13 on, torch's settings are a thread's own.
    """
    assert compiled is not None

    def call(*args: Any, **kwargs: Any) -> Any:
        config = torch._dynamo.config
        if config.recompile_limit != SHAPES_MAX or not config.fail_on_recompile_limit_hit:
            config.recompile_limit, config.fail_on_recompile_limit_hit = SHAPES_MAX, True
        return compiled(*args, **kwargs)

    return call


def compile_options(device: torch.device) -> dict[str, Any]:
    """Return options of the compiler, as they were measured on an H200 (docs/performance.md).

    `deterministic` leaves out the choices that the compiler would make by timing and that change bits, so that every
    process compiles the same. Without layout optimization a UNet is faster, and fewer places of its batch are unsafe.
    """
    return {"deterministic": True} | ({"layout_optimization": False} if device.type == "cuda" else {})


def _modules_of(pipeline: Any) -> list[nn.Module]:
    """Return the modules to compile: the UNet, or the blocks of the transformer. Raises ModelError for any without."""
    parts = pipeline.components
    if "unet" in parts:
        return [parts["unet"]]
    network: nn.Module = parts["transformer"]
    if not (blocks := blocks_of(network)):
        raise ModelError(
            f"workers.compile: required a network with repeated blocks, got {type(network).__name__}, "
            "which has none that were found; workers.compile=off renders without compiling"
        )
    return blocks


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """Return the repeated blocks of a transformer: those that diffusers names, otherwise those found in its lists.

    A list counts that has several modules, all of one class, and lies in no other block.
    """
    if named := set(getattr(network, "_repeated_blocks", None) or ()):
        return [module for module in network.modules() if type(module).__name__ in named]
    found: list[nn.Module] = []
    inside: tuple[str, ...] = ()
    for name, module in network.named_modules():  # a module before what it contains
        if name.startswith(inside) if inside else False:
            continue
        if isinstance(module, nn.ModuleList) and len(module) > 1 and len({type(block) for block in module}) == 1:
            found += module
            inside = (*inside, f"{name}.")
    return found
