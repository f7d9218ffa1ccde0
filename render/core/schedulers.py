"""Count the network calls of a scheduler. Standard library only."""

from __future__ import annotations

__all__ = ["scheduler_calls"]


def scheduler_calls(scheduler: str, steps: int, of: int) -> int:
    """Return the network calls of a scheduler in the last `steps` of its `of` steps.

    Heun takes two a step but the last, PNDM one more in all.

    >>> scheduler_calls("ddim", 8, 8), scheduler_calls("heun", 8, 8), scheduler_calls("pndm", 4, 8)
    (8, 15, 5)
    """
    if scheduler in ("heun", "flow-heun"):
        return steps + max(0, steps - 1)
    return steps + (scheduler == "pndm" and of > 1)
