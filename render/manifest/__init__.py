"""From a table to walks: files and tables in memory, every default filled in, every bad cell and row reported at once.

`table.py` reads columns as they are, one module a kind of source; `names.py` and `labels.py` say what the columns are;
`kinds.py`, `cells.py` and `rules.py` hold the rules of single cells, `checks.py` those between rows; `read.py` applies
them in order. Promises: nothing is repaired in silence and no setting is lost; a manifest that was
stored reads back as it was, without a second check; one fingerprint for one content, whatever the file's format.
"""

from __future__ import annotations

from render.manifest.growth import append_rows, compare_manifests, same_rows
from render.manifest.names import Naming
from render.manifest.problems import Problems, show
from render.manifest.raw import RawTable, is_text
from render.manifest.read import read_manifest
from render.manifest.rules import Defaults, ModelRules, SizeRule
from render.manifest.stored import Manifest, read_stored, stored_fingerprint
from render.manifest.syntax import check_weights, literal_signs
from render.manifest.table import TableLike, memory_name, read_table, tables_in

__all__ = [
    "Defaults",
    "Manifest",
    "ModelRules",
    "Naming",
    "Problems",
    "RawTable",
    "SizeRule",
    "TableLike",
    "append_rows",
    "check_weights",
    "compare_manifests",
    "is_text",
    "literal_signs",
    "memory_name",
    "read_manifest",
    "read_stored",
    "read_table",
    "same_rows",
    "show",
    "stored_fingerprint",
    "tables_in",
]
