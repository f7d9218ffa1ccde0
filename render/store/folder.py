"""Spell the paths of an output folder, local or in a bucket; no other module does. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from render.core import ObjectPath, scratch_folder

__all__ = ["OutputFolder"]


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """Paths of an output folder, OUT. Nothing is read or created here."""

    out: Path

    @property
    def data(self) -> Path:
        """Folder of the committed shards."""
        return self.out / "data"

    @property
    def animations(self) -> Path:
        return self.out / "animations"

    @property
    def sheets(self) -> Path:
        return self.out / "sheets"

    @property
    def scores(self) -> Path:
        """Folder of what scorers say of the frames: a folder of Parquet files a scorer, joined by `key`."""
        return self.out / "scores"

    @property
    def marks(self) -> Path:
        """Table of what people say of the frames, joined by `key`."""
        return self.out / "marks.parquet"

    @property
    def card(self) -> Path:
        """Dataset card, which `datasets` reads."""
        return self.out / "README.md"

    @property
    def run(self) -> Path:
        """Folder of everything that a resume needs; with it OUT counts as an output folder."""
        return self.out / ".run"

    @property
    def job(self) -> Path:
        return self.run / "job.yaml"

    @property
    def manifest(self) -> Path:
        return self.run / "manifest.parquet"

    @property
    def plan(self) -> Path:
        return self.run / "plan.json"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def commits(self) -> Path:
        """Folder of the commit records, one file a unit."""
        return self.run / "commits"

    @property
    def batches(self) -> Path:
        """Folder of the batch sizes that were chosen, and of the places that were measured."""
        return self.run / "batches"

    @property
    def scratch(self) -> Path:
        """Folder of shards that are being written. It is local: for a bucket, this process' own."""
        if isinstance(self.out, ObjectPath):
            return scratch_folder()
        return self.run / "scratch"

    @property
    def quarantine(self) -> Path:
        """Folder of recipes and tracebacks of frames that failed."""
        return self.run / "quarantine"

    @property
    def log(self) -> Path:
        """Log of the runs' events, a JSON object a line."""
        return self.run / "log.jsonl"

    @property
    def compactions(self) -> Path:
        """Folder of the records that name a compact file in the place of several shards."""
        return self.run / "compactions"

    @property
    def damaged(self) -> Path:
        """Folder of damaged commit records and shards that a repair has taken out of the store."""
        return self.run / "damaged"

    def sound(self, audio: str, sha256: str) -> Path:
        """Return the path of a sound's copy, from which a walk can be animated wherever OUT has moved."""
        return self.run / "audio" / f"{sha256}{Path(audio).suffix}"
