"""`render` with workers that hand back their first unit alone: a run that can't end before a test ends it.

A script, so that Ray's processes get the class below by value.
"""

from __future__ import annotations

import asyncio
import sys

from render.__main__ import main
from render.cluster import crew
from render.cluster.actor import RenderWorker
from render.core import Receipt, Unit


class Held(RenderWorker):
    """Renders and commits what it is given, and keeps all receipts but one."""

    async def render(self, number: int, unit: Unit) -> Receipt | None:
        receipt = await super().render(number, unit)
        if unit.id != "00000":
            await asyncio.Event().wait()
        return receipt


if __name__ == "__main__":
    crew.RenderWorker = Held  # type: ignore[attr-defined]
    sys.exit(main())
