"""Facts about the device that rendering happens on."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import torch

from render.core import cpu_has, cpu_info

__all__ = ["choose_dtype", "describe_device", "library_versions", "memory_is_short"]

FREE_SHARE_MIN = 0.25  # share of a GPU's memory that denoising should find free once everything is loaded
NVIDIA_VERSION = Path("/proc/driver/nvidia/version")


def memory_is_short(device: torch.device) -> bool:
    """Return whether a GPU has less free memory than denoising may want; False for a CPU.

    What torch's allocator keeps for later counts as free: after the first batches it keeps most of a card.
    """
    if device.type != "cuda":
        return False
    free, total = torch.cuda.mem_get_info(device)
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return free + kept < FREE_SHARE_MIN * total


def choose_dtype(device: torch.device, dtype: str) -> torch.dtype:
    """Return the dtype by its name; for `auto`, bfloat16 if the device multiplies it in hardware, else float32."""
    if dtype != "auto":
        chosen: torch.dtype = getattr(torch, dtype)
        return chosen
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else cpu_has("amx_bf16")
    return torch.bfloat16 if fast else torch.float32


def describe_device(device: torch.device, threads: int) -> str:
    """Return the device's name, for a CPU with its thread count: the pixels' last bits depend on both."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{cpu_info('model name') or 'CPU'}, {threads} thread{'s' if threads > 1 else ''}"


def library_versions() -> dict[str, str]:
    """Return the versions that a GPU's speed and the last bits of its results depend on; "" for what is not there."""
    driver = NVIDIA_VERSION.read_text(encoding="utf-8") if NVIDIA_VERSION.exists() else ""
    found = re.search(r"Kernel Module.*?\s(\d+\.[\d.]+)", driver)
    return {
        "torch": str(torch.__version__),
        "diffusers": metadata.version("diffusers"),
        "cuda": torch.version.cuda or "",
        "cudnn": str(torch.backends.cudnn.version() or ""),  # type: ignore[no-untyped-call]
        "driver": found[1] if found else "",
    }
