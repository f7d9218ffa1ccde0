"""Name and extensions of this machine's processor, from Linux' /proc/cpuinfo."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_has", "cpu_info"]

CPU_INFO = Path("/proc/cpuinfo")


def cpu_info(key: str) -> str:
    """Return the value of a line of /proc/cpuinfo, "" without such a line."""
    if not CPU_INFO.exists():
        return ""
    with CPU_INFO.open(encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")


def cpu_has(flag: str) -> bool:
    """Return True for an extension that the processor has, by its name in /proc/cpuinfo."""
    return flag in cpu_info("flags").split()
