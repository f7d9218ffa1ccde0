"""What this machine's processor is and can do, as far as Linux tells."""

from __future__ import annotations

from pathlib import Path

__all__ = ["cpu_has", "cpu_info"]

CPU_INFO = Path("/proc/cpuinfo")


def cpu_info(key: str) -> str:
    """The value of a line of Linux' /proc/cpuinfo, "" where there is none."""
    if not CPU_INFO.exists():
        return ""
    with CPU_INFO.open(encoding="utf-8") as file:
        return next((line.partition(":")[2].strip() for line in file if line.startswith(key)), "")


def cpu_has(flag: str) -> bool:
    """Whether it has an extension, by its name in /proc/cpuinfo."""
    return flag in cpu_info("flags").split()
