"""Write the dataset card of an output folder: its content, how it was made, how to open it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from render.catalog import Catalog, CatalogColumn
from render.core import ObjectPath, counted, input_path, write_atomically
from render.export import (
    Card,
    CardColumn,
    CardModel,
    card_text,
    described_columns,
    label_counts,
    plain,
    recipe_counts,
    score_histograms,
)
from render.models import model_terms
from render.prepare import Prepared
from render.store import STORE_TABLE, OutputFolder, public_name

__all__ = ["write_card"]

LABELS = "Further columns are labels: columns of the manifest that nightrender does not use itself."
REST = """\
Animations of the walks are in `animations/`. The folder `.run/` holds job, manifest, plan and commit records; the same
command resumes the job from them. It has paths of the machine that rendered: leave it out of what you publish.
`render export OUT --to hf -o FOLDER` writes a dataset without it, and `hf upload … --exclude ".run/*"` leaves it out."""


def write_card(prepared: Prepared, sheets: Sequence[Path] | None = None) -> None:
    """Write OUT/README.md; its YAML header lists the files that `datasets.load_dataset` reads.

    With the `sheets` of a run that has ended it also tells what is in the store by now: counts of labels and settings,
    histograms of scores, and the first sheet as a picture.
    """
    job, counts, labels = prepared.job, prepared.counts, _labels(prepared)
    card = Card(
        name=job.output.name,
        intro=_intro(prepared),
        frames=counts.frames,
        files=(("train", "data/train-*.parquet"),),
        opening=tuple(_opening(prepared)),
        columns=described_columns([CatalogColumn(column.name, "", "store") for column in STORE_TABLE[1:]]),
        models=_models(prepared),
        labels=labels,
        notes=(LABELS, REST),
    )
    if sheets is not None:
        card = _counted(card, job.output, sheets)
    text = card_text(card).encode(errors="replace")  # a name need not be in UTF-8
    write_atomically(OutputFolder(job.output).card, text)


def _intro(prepared: Prepared) -> str:
    job, counts = prepared.job, prepared.counts
    tables = [job.manifest, *(input_path(part.table) for part in prepared.plan.extensions if part.table)]
    names = plain(" and ".join(table.name for table in tables))
    kinds = f"{counted(counts.walks, 'walk')} and {counted(counts.stills, 'still')}"
    return f"{counted(counts.frames, 'image')} rendered from {names}: {kinds}. Written by nightrender."


def _opening(prepared: Prepared) -> list[tuple[str, str]]:
    """Return the code that opens the store: below the card's own folder, or by the URL of a bucket."""
    out = prepared.job.output
    example = _quoted(next(prepared.manifest.walks()).name)
    if isinstance(out, ObjectPath):
        data = f"{out}/data/*.parquet"
        begin = f'images = load_dataset("parquet", data_files={_quoted(data)}, split="train")'
        store, query = f"render.open_store({_quoted(str(out))})", f"select walk, frame, prompt, seed from {_sql(data)};"
    else:
        begin = 'folder = "."  # of this card, from where you are\nimages = load_dataset(folder, split="train")'
        store, query = "render.open_store(folder)", "select walk, frame, prompt, seed from 'data/*.parquet';"
    python = (
        f"from datasets import load_dataset\n{begin}\n\nimport render\nstore = {store}\nstore.frame({example}).image()"
    )
    return [("python", python), ("sql", query)]


def _models(prepared: Prepared) -> tuple[CardModel, ...]:
    """Return the models with their fingerprints and terms; of several, each also by its name in the job."""
    several = len(prepared.models) > 1
    return tuple(
        CardModel(
            f"{public_name(model.id)} ({name})" if several else public_name(model.id),
            model.revision,
            model.fingerprint,
            model_terms(model.id, model.revision),
        )
        for name, model in prepared.models.items()
    )


def _labels(prepared: Prepared) -> tuple[CardColumn, ...]:
    schema = pa.ipc.read_schema(pa.py_buffer(prepared.manifest.label_schema))
    return tuple(CardColumn(field.name, str(field.type)) for field in schema)


def _counted(card: Card, out: Path, sheets: Sequence[Path]) -> Card:
    """Return the card with what the store has by now."""
    with Catalog(out) as catalog:
        own = list(catalog.columns)
        first = quote(str(sheets[0].relative_to(out))) if sheets else ""
        return replace(
            card,
            samples=first,
            labels=label_counts(catalog, "frames", own),
            recipes=recipe_counts(catalog, "frames"),
            scores=score_histograms(catalog, "frames", own),
        )


def _quoted(text: str) -> str:
    """Return a text as a Python string on one line."""
    return json.dumps(text, ensure_ascii=False)


def _sql(text: str) -> str:
    """Return a text as a string of SQL on one line."""
    doubled = " ".join(text.split()).replace("'", "''")
    return f"'{doubled}'"
