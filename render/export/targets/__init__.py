"""The targets of an export, one entry each: how a part is written, and what is written once all parts are there."""

from __future__ import annotations

from render.export.targets.files import CSV, IMAGEFOLDER, KOHYA
from render.export.targets.hf import HF
from render.export.targets.lance import LANCE
from render.export.targets.target import Target
from render.export.targets.webdataset import WEBDATASET

__all__ = ["TARGETS", "Target"]

TARGETS = {target.name: target for target in (HF, WEBDATASET, IMAGEFOLDER, KOHYA, CSV, LANCE)}
