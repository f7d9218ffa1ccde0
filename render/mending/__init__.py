"""The morning after: check an output folder, tell what the night did, and mend what is damaged, missing or failed.

`verify_store`, `report_store` and `status_store` change nothing. `repair_store` renders again what is damaged or missing,
`retry_store` what failed, `compact_store` merges files. All of them work on folders and buckets, whoever rendered them, from
what OUT records; `status_store` also while a run goes on.
"""

from __future__ import annotations

from render.mending.compact import Compacted, compact_store
from render.mending.inspect import Finding, check_files, check_store
from render.mending.pace import Pace
from render.mending.quality import quality_of
from render.mending.repair import Repair, repair_store
from render.mending.report import Failed, NightReport, report_store
from render.mending.report_page import page_of, text_of
from render.mending.retry import Retry, reseed_blank, retry_store
from render.mending.status import Status, UnitInHand, Watch, status_store
from render.mending.status_page import facts_of, line_of, lines_of
from render.mending.steps import Left, next_steps
from render.mending.take_back import take_back
from render.mending.verify import Verdict, verify_store

__all__ = [
    "Compacted",
    "Failed",
    "Finding",
    "Left",
    "NightReport",
    "Pace",
    "Repair",
    "Retry",
    "Status",
    "UnitInHand",
    "Verdict",
    "Watch",
    "check_files",
    "check_store",
    "compact_store",
    "facts_of",
    "line_of",
    "lines_of",
    "next_steps",
    "page_of",
    "quality_of",
    "repair_store",
    "report_store",
    "reseed_blank",
    "retry_store",
    "status_store",
    "take_back",
    "text_of",
    "verify_store",
]
