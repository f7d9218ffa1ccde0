"""From a table to walks: CSV, Parquet or DataFrame, every default filled in, every bad cell and row reported at once.

`table.py` reads columns as they are, `cells.py` and `rules.py` hold the rules of single cells, `checks.py` those between
rows, `read.py` applies them in order. Promises: nothing is repaired in silence and no setting is lost; a manifest that was
stored reads back as it was, without a second check; one fingerprint for one content, whatever the file's format.
"""

from __future__ import annotations

from render.manifest.problems import Problems, show
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.stored import Manifest, read_stored, stored_fingerprint
from render.manifest.syntax import check_weights, literal_signs
from render.manifest.table import RawTable, is_text, read_table

__all__ = [
    "Defaults",
    "Manifest",
    "ModelRules",
    "Problems",
    "RawTable",
    "SizeRule",
    "check_weights",
    "is_text",
    "literal_signs",
    "read_manifest",
    "read_stored",
    "read_table",
    "show",
    "stored_fingerprint",
]
