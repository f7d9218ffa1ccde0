"""Describe an export beside its files: the dataset card, a sheet of samples, Croissant metadata."""

from __future__ import annotations

import json
from collections.abc import Sequence

from render.catalog import Catalog, quoted
from render.core import counted, write_atomically
from render.export.card import Card, card_text, code, plain
from render.export.card_facts import (
    described_columns,
    label_counts,
    models_of,
    recipe_counts,
    sample_sheet,
    score_histograms,
)
from render.export.croissant import croissant
from render.export.selection import EXPORTED
from render.export.targets import TARGETS
from render.export.work import Work

__all__ = ["SAMPLES", "describe"]

SAMPLES = "samples.jpg"
CHOSEN = f"(SELECT frames.* FROM frames SEMI JOIN {quoted(EXPORTED)} USING (shard, row))"


def describe(catalog: Catalog, work: Work) -> None:
    """Write README.md, samples.jpg and croissant.json of an export whose frames are written."""
    export, target = work.choice.export, TARGETS[work.choice.export.to]
    files = [(split, target.files(split)) for split, frames in work.frames.items() if frames]
    frames = sum(work.frames.values())
    name = export.folder.absolute().name
    whole = f"{counted(frames, 'image')} rendered from text by diffusion models"
    card = Card(
        name=name,
        intro=f"{whole}, exported from the store {code(work.source)} by nightrender as {target.meaning}."
        + (f" They are those for which {code(export.where)} holds." if export.where != "true" else ""),
        frames=frames,
        files=tuple(files) if target.is_dataset else (),
        opening=tuple(_opening(target.opening, files)),
        columns=described_columns(work.choice.columns),
        models=models_of(catalog, CHOSEN),
        labels=label_counts(catalog, CHOSEN, work.choice.columns),
        recipes=recipe_counts(catalog, CHOSEN),
        scores=score_histograms(catalog, CHOSEN, work.choice.columns),
        splits=tuple(work.frames.items()),
        license=export.license,
        languages=tuple(part.strip() for part in export.language.split(",") if part.strip()),
        samples=SAMPLES,
        notes=_notes(work),
    )
    write_atomically(export.folder / SAMPLES, sample_sheet(catalog, CHOSEN))
    schema = work.schema if target.has_records else None
    (latest,) = catalog.query(f"SELECT CAST(max(timestamp) AS DATE) AS day FROM {CHOSEN}").to_pylist()
    metadata = croissant(name, f"{whole}.", export.license, latest["day"].isoformat(), files, schema)
    write_atomically(export.folder / "croissant.json", metadata.encode("utf-8", "replace"))
    write_atomically(export.folder / "README.md", card_text(card).encode("utf-8", "replace"))


def _opening(code_of: str, files: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the code that opens an export, right from any folder."""
    if not code_of:
        return []
    split, pattern = files[0]
    here = 'folder = "."  # the folder of this card, from where you are\n'
    told = code_of.replace("SPLIT", json.dumps(split)).replace("FILES", json.dumps(f"/{pattern}"))
    return [("python", here + told)]


def _notes(work: Work) -> tuple[str, ...]:
    """Return how the frames were chosen and shared out."""
    export, notes = work.choice.export, []
    if work.choice.shares and len(work.frames) > 1:
        notes.append(
            "The split of an image follows from the SHA-256 of its prompt, or of its walk's first prompt: the seeds of a"
            " prompt, and the frames of a walk, are in one split."
        )
    if export.balance:
        notes.append(f"Each split has the same number of images of each value of {plain(export.balance)}.")
    if export.dedupe:
        notes.append(f"No two images have the same value of {plain(export.dedupe)}.")
    return ("## How the images were chosen", " ".join(notes)) if notes else ()
