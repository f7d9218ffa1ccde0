"""`render` with workers that hand back their first unit alone: a run that can't end before a test ends it.

A script, so that Ray's processes get the class below by value.
"""

from __future__ import annotations

import asyncio
import sys

from render.__main__ import main
from render.cluster import driver
from render.core import Receipt, Unit


class Held(driver._Actor):
    """Renders and commits what it is given, and keeps all receipts but one."""

    async def render(self, number: int, unit: Unit) -> Receipt:
        receipt = await super().render(number, unit)
        if unit.id != "00000":
            await asyncio.Event().wait()
        return receipt


if __name__ == "__main__":
    driver._Actor = Held  # type: ignore[misc]
    sys.exit(main())
