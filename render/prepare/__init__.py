"""From a job to its rendering: check and plan it, record the plan in OUT or resume the one there, hand out its units.

`prepare` checks everything that can be checked without rendering. `record_or_resume` takes the result to its output, which
may be new, begun, or extended by more rows. `prepare_again` needs the output alone. `render_units` renders what is left.
Nothing here loads torch or Ray before the first unit is handed out.
"""

from __future__ import annotations

from render.prepare.again import prepare_again
from render.prepare.balance import Balance
from render.prepare.extend import Asked
from render.prepare.job_plan import Prepared, prepare, resolve_models
from render.prepare.rendering import Report, Silent, plain_end, render_units
from render.prepare.resume import (
    begun_ledger,
    load_plan,
    planned_manifest,
    record_or_resume,
    restore_job,
    restore_manifest,
    stored_job,
    stored_manifest,
    write_manifest_anew,
)
from render.prepare.site import check_lasting, look_at

__all__ = [
    "Asked",
    "Balance",
    "Prepared",
    "Report",
    "Silent",
    "begun_ledger",
    "check_lasting",
    "load_plan",
    "look_at",
    "plain_end",
    "planned_manifest",
    "prepare",
    "prepare_again",
    "record_or_resume",
    "render_units",
    "resolve_models",
    "restore_job",
    "restore_manifest",
    "stored_job",
    "stored_manifest",
    "write_manifest_anew",
]
