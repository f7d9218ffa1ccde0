"""The check of a store: every planned frame committed once, every file and every pixel as it was hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from render.core import ManifestError
from render.inspect import Finding, Inspection, file_findings
from render.look import Looker
from render.plan import Plan, plan_units
from render.resume import load_plan, stored_manifest
from render.store import Ledger, reach_output

__all__ = ["Verdict", "verify_store"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a verification."""

    frames: int  # committed and right
    findings: tuple[Finding, ...] = ()  # what is wrong, each with the frames concerned

    @property
    def problems(self) -> tuple[str, ...]:
        """What is wrong, a line each: a file below OUT or a unit, and the problem."""
        return tuple(map(str, self.findings))


def verify_store(out: str | Path, deep: bool = False, note: Callable[[Finding], object] = lambda _: None) -> Verdict:
    """Check an output folder against its plan: commit records, files, their hashes, the places of their frames.

    With `deep` every image is decoded, too, and a lossless one compared with the hash of its pixels. `note` is called with
    every finding as soon as it is made. Raises StoreError when `out` is not an output folder.
    """
    out = reach_output(out)
    ledger, findings = Ledger(out), []
    plan, inspection = load_plan(out), None
    found = _manifest_findings(ledger, plan)
    try:
        units = plan_units(stored_manifest(out).walks, plan)
        inspection = Inspection(ledger, units, Looker(deep=deep))
        found = chain(found, inspection)
    except ManifestError:  # without it, nobody knows the units
        found = chain(found, file_findings(ledger))
    for finding in found:
        findings.append(finding)
        note(finding)
    return Verdict(inspection.frames if inspection else 0, tuple(findings))


def _manifest_findings(ledger: Ledger, plan: Plan) -> Iterator[Finding]:
    """Yield what is wrong with the stored manifest."""
    where = f".run/{ledger.folder.manifest.name}"
    try:
        manifest = stored_manifest(ledger.folder.out)
    except ManifestError as error:
        yield Finding("corrupt", where, str(error))
        return
    if manifest.fingerprint != plan.fingerprint["manifest"]:
        yield Finding("corrupt", where, "not the manifest that was planned")
