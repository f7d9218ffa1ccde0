"""Check that the installed libraries can load LoRAs together, from their files and metadata, without importing them."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from render.core import ModelError

__all__ = ["check_lora_libraries"]

# Files in which the libraries name the oldest PEFT that they accept. Their metadata does not have it, and their own error
# comes only when the first LoRA is loaded.
PEFT_BOUND_FILES = {"transformers": "transformers/integrations/peft.py", "diffusers": "diffusers/utils/constants.py"}
OLDEST_PEFT = re.compile(r"^MIN_PEFT_VERSION = \"([^\"]+)\"", re.MULTILINE)


def check_lora_libraries() -> None:
    """Raise ModelError if PEFT is missing, or older than transformers or diffusers accept."""
    got = _version("peft")
    for library in PEFT_BOUND_FILES:
        oldest = _oldest_peft(library)
        if got is None or (oldest and Version(got) < Version(oldest)):
            required = f"peft {oldest} or newer, as {library} {_version(library)} asks for" if oldest else "peft"
            raise ModelError(
                f"model.loras: required {required}, got {got or 'none'}: changed after nightrender was installed? "
                f"{_remedy()} installs versions that fit"
            )


def _oldest_peft(library: str) -> str | None:
    """Return the oldest PEFT version that an installed library accepts, None if its file names none."""
    try:
        text = Path(str(distribution(library).locate_file(PEFT_BOUND_FILES[library]))).read_text(encoding="utf-8")
    except (PackageNotFoundError, OSError):
        return None
    found = OLDEST_PEFT.search(text)
    return found and found[1]


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _remedy() -> str:
    """Return the pip command that installs these libraries within nightrender's own version bounds."""
    try:
        bounds = [Requirement(text) for text in requires("nightrender") or ()]
    except PackageNotFoundError:
        return "pip install ."
    ours = [f'"{bound.name}{bound.specifier}"' for bound in bounds if bound.name in {"peft", *PEFT_BOUND_FILES}]
    return f"pip install {' '.join(ours)}"
