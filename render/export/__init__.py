"""From a store to what others take: datasets for the Hub, tar files, training folders, tables with pictures.

The frames are chosen by SQL over the catalog and shared out into splits by the hash of their prompts. They are written in
parts, each whole before it is noted, at constant memory; a killed export goes on with the same command. A new target is
one module in `targets/` and its name in TARGETS there. Neither torch nor Ray is needed.
"""

from __future__ import annotations

from render.export.card import Card, CardColumn, CardModel, card_text, plain
from render.export.export import export_store
from render.export.push import Push, Pushed, check_push, push_export
from render.export.value import Export, Exported

__all__ = [
    "Card",
    "CardColumn",
    "CardModel",
    "Export",
    "Exported",
    "Push",
    "Pushed",
    "card_text",
    "check_push",
    "export_store",
    "plain",
    "push_export",
]
