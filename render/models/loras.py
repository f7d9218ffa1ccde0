"""Whether the libraries that load LoRAs fit each other, read from their files and metadata: none of them is loaded."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, distribution, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

from render.core import ModelError

__all__ = ["check_lora_libraries"]

# Where a library says which PEFT it works with. Its metadata does not, and its own error comes with the first LoRA.
SAYS_WHICH_PEFT = {"transformers": "transformers/integrations/peft.py", "diffusers": "diffusers/utils/constants.py"}
OLDEST_PEFT = re.compile(r"^MIN_PEFT_VERSION = \"([^\"]+)\"", re.MULTILINE)


def check_lora_libraries() -> None:
    """Raise ModelError where PEFT is missing, or older than transformers or diffusers take."""
    got = _version("peft")
    for library in SAYS_WHICH_PEFT:
        oldest = _oldest_peft(library)
        if got is None or (oldest and Version(got) < Version(oldest)):
            required = f"peft {oldest} or newer, as {library} {_version(library)} asks for" if oldest else "peft"
            raise ModelError(
                f"model.loras: required {required}, got {got or 'none'}: changed after nightrender was installed? "
                f"{_remedy()} installs versions that fit"
            )


def _oldest_peft(library: str) -> str | None:
    """Return the oldest PEFT that an installed library works with, None where it does not say."""
    try:
        text = Path(str(distribution(library).locate_file(SAYS_WHICH_PEFT[library]))).read_text(encoding="utf-8")
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
    """Return the command that installs these libraries within the bounds of nightrender's own metadata."""
    try:
        bounds = [Requirement(text) for text in requires("nightrender") or ()]
    except PackageNotFoundError:
        return "pip install ."
    ours = [f'"{bound.name}{bound.specifier}"' for bound in bounds if bound.name in {"peft", *SAYS_WHICH_PEFT}]
    return f"pip install {' '.join(ours)}"
