"""From a store to what others take: datasets for the Hub, tar files, training folders, tables with pictures.

The frames are chosen by SQL over the catalog and shared out into splits by the hash of their prompts. They are written in
parts, each whole before it is noted, at constant memory; a killed export goes on with the same command. A new target is
one module in `targets/` and its name in TARGETS. Neither torch nor Ray is needed.
"""

from __future__ import annotations

from render.export.export import export_store
from render.export.targets import TARGETS
from render.export.value import Export, Exported

__all__ = ["TARGETS", "Export", "Exported", "export_store"]
