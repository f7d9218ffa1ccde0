"""The layout of an output folder: the only place that spells its paths. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["OutputFolder"]


@dataclass(frozen=True, slots=True)
class OutputFolder:
    """The paths of an output folder. Nothing is read or created here."""

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
    def card(self) -> Path:
        """The dataset card."""
        return self.out / "README.md"

    @property
    def run(self) -> Path:
        """Folder of everything that a resume needs. Its presence says that OUT is an output folder."""
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
    def scratch(self) -> Path:
        """Folder of shards that are being written."""
        return self.run / "scratch"

    @property
    def quarantine(self) -> Path:
        """Folder of the recipes and tracebacks of frames that failed."""
        return self.run / "quarantine"

    def sound(self, audio: str, sha256: str) -> Path:
        """Return where a walk's sound is kept, so that it can be animated wherever the folder is."""
        return self.run / "audio" / f"{sha256}{Path(audio).suffix}"
