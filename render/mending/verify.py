"""The check of a store: every planned frame committed once, every file and every pixel as it was hashed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from render.core import ManifestError
from render.mending.inspect import MANIFEST, Finding, Inspection, file_findings, job_findings, manifest_finding
from render.mending.look import Looker
from render.plan import plan_units
from render.prepare import load_plan, stored_manifest
from render.store import Ledger, reach_output

__all__ = ["Verdict", "verify_store"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of a verification."""

    frames: int  # committed and right
    findings: tuple[Finding, ...] = ()  # what is wrong, each with the frames concerned
    going_on: str = ""  # process, host and start of a run that goes on there: what it has not committed yet is missing

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
    plan, ledger, inspection = load_plan(out), Ledger(out), None
    going_on = ledger.going_on()
    findings: list[Finding] = []
    found: Iterable[Finding]
    try:
        manifest = stored_manifest(out)
        found = inspection = Inspection(ledger, plan_units(manifest.walks, plan), Looker(deep=deep))
        if manifest.fingerprint != plan.fingerprint["manifest"]:
            found = chain([Finding("corrupt", MANIFEST, "not the manifest that was planned")], inspection)
    except ManifestError as error:  # without it, nobody knows the units
        found = chain([manifest_finding(error)], file_findings(ledger))
    for finding in chain(job_findings(out), found):
        findings.append(finding)
        note(finding)
    return Verdict(inspection.frames if inspection else 0, tuple(findings), going_on)
