"""Inspect a store: what of its plan is missing, there twice, one too many or damaged, and which command mends it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from render.core import (
    Frame,
    JobError,
    Keyframe,
    ManifestError,
    Receipt,
    StoreError,
    Unit,
    counted,
    file_sizes,
    to_go_on,
)
from render.mending.look import Looker, quick_look
from render.prepare import stored_job
from render.store import (
    Ledger,
    RecordFault,
    is_accounted,
    is_own_shard,
    is_retry,
    misfit,
    slots_above,
    slots_of,
    unit_of,
)

__all__ = [
    "MANIFEST",
    "Finding",
    "Inspection",
    "check_files",
    "check_store",
    "file_findings",
    "job_findings",
    "manifest_finding",
    "show_frames",
]

SHOWN_MAX = 20  # findings that an error lists
MANIFEST = ".run/manifest.parquet"  # below OUT
STRETCHES_MAX = 5  # stretches of frames that a line names


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a store."""

    kind: str  # missing, quarantined, corrupt, twice, extra, orphan, unrecorded, foreign or job
    where: str  # a file below OUT, or the unit
    problem: str
    frames: str = ""  # those concerned, by walk: `ball 4-7`
    slot: str = ""  # unit whose record is at fault, or whose frames are to be rendered again

    def __str__(self) -> str:
        return f"{self.where}: {self.problem}"

    def mend(self, out: str) -> str:
        """Return what to do about it."""
        repair = to_go_on("repair", out)
        ways = {
            "job": "the command of the run writes it anew",
            "foreign": "it is not ours: move it away",
            "orphan": "the next run deletes it",
            "quarantined": f"{to_go_on('retry', out)} tries again",
            "unrecorded": f"{repair}, or the command of the run, takes its frames back if it is whole",
            "missing": f"{repair}, or the command of the run, renders them",
        }
        return ways.get(self.kind, f"{repair} mends it")

    def line(self, out: str) -> str:
        """Return the problem, the frames concerned and what to do, in one line."""
        frames = f" ({self.frames})" if self.frames else ""
        return f"{self}{frames}; {self.mend(out)}"


@dataclass
class Inspection:
    """One pass over a store. Iterate over it once for its findings, as they are found; then the counts are full."""

    ledger: Ledger
    units: Iterable[Unit]  # of the plan, in its order
    looker: Looker
    frames: int = 0  # that are committed and right
    uncommitted: int = 0  # frames without a commit, those in quarantine included
    in_quarantine: dict[tuple[str, int], Keyframe] = field(default_factory=dict)  # (walk, frame) → its keyframe
    incomplete: bool = False  # a unit has no commit, or a file of one is damaged

    def __iter__(self) -> Iterator[Finding]:
        records, faults = self.ledger.read_records()
        damaged = {fault.slot: fault for fault in faults}
        hurt, reached = {*damaged}, set[str]()
        for planned in self.units:
            for unit, receipt in slots_of(planned, records):
                reached |= {*slots_above(unit.id)}
                if fault := damaged.pop(unit.id, None):
                    self.incomplete = True
                    yield _of_record(fault, show_frames(unit.frames))
                elif receipt is None:
                    self.uncommitted += len(unit.frames)
                    self.incomplete |= not is_retry(unit.id)
                    if is_retry(unit.id):
                        self.in_quarantine |= {(one.walk, one.index): one.keyframe for one in unit.frames}
                    yield _without_receipt(unit, unit.id in records)
                else:
                    yield from self._committed(unit, receipt)
        yield from map(_of_record, damaged.values())
        for slot in records:
            if slot not in reached and not hurt & {*slots_above(slot)}:
                yield _unreached(slot, reached)
        yield from self._strangers(records)

    def _committed(self, unit: Unit, receipt: Receipt) -> Iterator[Finding]:
        if problem := misfit(unit, receipt):
            where = f".run/commits/{unit.id}.json"
            yield Finding("corrupt", where, problem, show_frames(unit.frames), unit.id)
        elif receipt.file is not None:
            kept = _kept(unit, receipt)
            found = 0
            compaction = self.ledger.compaction_of(unit.id)
            file = compaction.file if compaction else receipt.file
            for problem in self.looker.problems(self.ledger.folder.data / file, kept, receipt, compaction):
                found += 1
                yield Finding("corrupt", f"data/{file}", problem, show_frames(kept), unit.id)
            self.frames += 0 if found else receipt.frames
            self.incomplete |= found > 0

    def _strangers(self, records: Mapping[str, Receipt | None]) -> Iterator[Finding]:
        """Yield what lies in data/ and no commit names."""
        named = {self.ledger.file_of(record) for record in records.values() if record is not None}
        data = self.ledger.folder.data
        for path in sorted(data.iterdir()) if data.is_dir() else ():
            if path.name in named:
                continue
            kind = "foreign"
            if is_own_shard(path.name) and path.is_file():
                slot = unit_of(path.name)
                is_told = not self.incomplete if slot is None else is_accounted(slot, records)
                kind = "orphan" if is_told else "unrecorded"
            yield Finding(kind, f"data/{path.name}", "no commit names it")


def _of_record(fault: RecordFault, frames: str = "") -> Finding:
    return Finding("twice" if fault.is_second else "corrupt", fault.file, fault.problem, frames, fault.slot)


def _without_receipt(unit: Unit, has_record: bool) -> Finding:
    frames, text = show_frames(unit.frames), f"{counted(len(unit.frames), 'frame is', 'frames are')} not committed"
    if has_record:
        return Finding("corrupt", f".run/commits/{unit.id}.json", "splits a single frame", frames, unit.id)
    if is_retry(unit.id):
        where = "it is" if len(unit.frames) == 1 else "they are"
        return Finding("quarantined", f"unit {unit.id}", f"{text}: {where} in quarantine", frames, unit.id)
    return Finding("missing", f"unit {unit.id}", text, frames, unit.id)


def _unreached(slot: str, reached: set[str]) -> Finding:
    upper = next((one for one in slots_above(slot) if one in reached), None)
    problem = "no unit of the plan has this record"
    if upper is not None:
        problem = f"the record of unit {upper} above it is lost, or does not name it"
    return Finding("extra", f".run/commits/{slot}.json", problem, slot=slot)


def _kept(unit: Unit, receipt: Receipt) -> list[Frame]:
    """Return the frames that the unit's shard has."""
    elsewhere = {*receipt.quarantined, *receipt.lost}
    return [frame for position, frame in enumerate(unit.frames) if position not in elsewhere]


def show_frames(frames: Iterable[Frame]) -> str:
    """Return the places of frames, stretch by stretch: `ball 0-3, ball 7, still-000003 0`."""
    stretches: list[list[tuple[str, int]]] = []
    for frame in frames:
        if stretches and stretches[-1][-1] == (frame.walk, frame.index - 1):
            stretches[-1][1:] = [(frame.walk, frame.index)]
        else:
            stretches.append([(frame.walk, frame.index)])
    texts = [f"{walk} {first}" + (f"-{rest[0][1]}" if rest else "") for (walk, first), *rest in stretches]
    more = [f"… and {len(texts) - STRETCHES_MAX} more"] if len(texts) > STRETCHES_MAX else []
    return ", ".join([*texts[:STRETCHES_MAX], *more])


def check_store(ledger: Ledger, units: Iterable[Unit]) -> int:
    """Return how many frames are not committed. Reads no shard.

    Raises StoreError for damage that a run would build on, or that gives frames twice; what is foreign is left alone.
    """
    inspection = Inspection(ledger, units, Looker(file_sizes(ledger.folder.data)))
    harmless = {"missing", "quarantined", "orphan", "unrecorded", "foreign"}
    _raise(ledger.folder.out, [one for one in inspection if one.kind not in harmless])
    return inspection.uncommitted


def check_files(ledger: Ledger) -> None:
    """Raise StoreError for damaged commit records and for committed shards that are not there or of another size."""
    _raise(ledger.folder.out, list(file_findings(ledger)))


def file_findings(ledger: Ledger) -> Iterator[Finding]:
    """Yield what is wrong with commit records, and with shards by their sizes, without the plan."""
    records, faults = ledger.read_records()
    sizes = file_sizes(ledger.folder.data)
    yield from map(_of_record, faults)
    for receipt in filter(None, records.values()):
        if (file := ledger.file_of(receipt)) is not None:
            compaction = ledger.compaction_of(receipt.unit)
            for problem in quick_look(sizes.get(file), (compaction or receipt).size_bytes):
                yield Finding("corrupt", f"data/{file}", problem, slot=receipt.unit)


def manifest_finding(error: ManifestError) -> Finding:
    """Return what is wrong with the stored manifest, without the command that every finding names."""
    _, required, got = str(error).partition("required the manifest")
    return Finding("corrupt", MANIFEST, (required + got).partition("; `render repair")[0])


def job_findings(out: Path) -> Iterator[Finding]:
    """Yield what is wrong with the stored job."""
    try:
        stored_job(out)
    except JobError as error:
        _, required, got = str(error).splitlines()[0].partition("required")
        yield Finding("job", ".run/job.yaml", (required + got).partition("; the command of the run")[0])


def _raise(out: Path, found: list[Finding]) -> None:
    if found:
        more = [f"… and {len(found) - SHOWN_MAX} more"] if len(found) > SHOWN_MAX else []
        frames = [f" ({one.frames})" if one.frames else "" for one in found[:SHOWN_MAX]]
        lines = [f"{one}{which}" for one, which in zip(found, frames, strict=False)]
        raise StoreError(
            "\n  ".join([f"{out}: the store is damaged; {to_go_on('repair', out)} mends it:", *lines, *more])
        )
