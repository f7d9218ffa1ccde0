"""Look for what `torch.compile` needs on this machine beside torch. Loads no torch."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sysconfig
from pathlib import Path

__all__ = ["missing_for_compiling"]

HEADER = "Python.h"


def missing_for_compiling(gpu: bool) -> str:
    """Return what compiling lacks on this machine, "" when nothing is known to be missing.

    On a CPU the compiler writes C++. On a GPU it writes Triton, which compiles a little C to start its kernels. Both
    include Python's headers.
    """
    if gpu and not _has("triton"):
        return "the package triton"
    compiler = os.environ.get("CC" if gpu else "CXX", "").partition(" ")[0]
    wanted = [compiler] if compiler else ["gcc", "clang", "cc"] if gpu else ["g++", "clang++"]
    if not any(map(shutil.which, wanted)):
        return f"a {'C' if gpu else 'C++'} compiler ({' or '.join(wanted)})"
    header = Path(sysconfig.get_path("include"), HEADER)
    return "" if header.exists() else f"Python's header files ({header}, often in a package python3-dev)"


def _has(package: str) -> bool:
    return importlib.util.find_spec(package) is not None
