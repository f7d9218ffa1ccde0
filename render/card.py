"""Write the dataset card of an output folder: its content, how it was made, how to open it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from render.core import TRAIN, ObjectPath, counted, input_path, write_atomically
from render.export import Card, CardColumn, CardModel, card_text, plain
from render.models import model_terms
from render.prepare import Prepared
from render.store import STORE_TABLE, OutputFolder, public_name

__all__ = ["write_card"]

LABELS = "Further columns are labels: columns of the manifest that nightrender does not use itself."
REST = """\
Animations of the walks are in `animations/`. The folder `.run/` holds job, manifest, plan and commit records; the same
command resumes the job from them. It has paths of the machine that rendered: leave it out of what you publish.
`render export OUT --to hf -o FOLDER` writes a dataset without it, and `hf upload … --exclude ".run/*"` leaves it out."""


def write_card(prepared: Prepared, sheets: Sequence[Path] = ()) -> None:
    """Write OUT/README.md; its YAML header lists the files that `datasets.load_dataset` reads.

    The first of the `sheets` of a run that has ended is shown as a picture of what is in it.
    """
    job = prepared.job
    card = Card(
        name=job.output.name,
        intro=_intro(prepared),
        frames=prepared.counts.frames,
        files=tuple((split, f"data/{split}-*.parquet") for split in prepared.manifest.splits),
        opening=tuple(_opening(prepared)),
        columns=tuple(CardColumn(column.name, str(column.type), column.meaning) for column in STORE_TABLE),
        models=_models(prepared),
        labels=_labels(prepared),
        notes=(LABELS, REST),
        samples=quote(str(sheets[0].relative_to(job.output))) if sheets else "",
    )
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
    out, splits = prepared.job.output, prepared.manifest.splits
    example = _quoted(next(prepared.manifest.walks()).name)
    if isinstance(out, ObjectPath):
        begin = f'images = load_dataset("parquet", data_files={_files(str(out), splits)}, split="{splits[0]}")'
        store, data = f"render.open_store({_quoted(str(out))})", f"{out}/data/*.parquet"
    else:
        begin = f'folder = "."  # of this card, from where you are\nimages = load_dataset(folder, split="{splits[0]}")'
        store, data = "render.open_store(folder)", "data/*.parquet"
    python = (
        f"from datasets import load_dataset\n{begin}\n\nimport render\nstore = {store}\nstore.frame({example}).image()"
    )
    return [("python", python), ("sql", f"select walk, frame, prompt, seed from {_sql(data)};")]


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
    """Return the labels; of those with few values, the number of frames of each."""
    schema = pa.ipc.read_schema(pa.py_buffer(prepared.manifest.label_schema))
    balance = {one.column: one.frames for one in prepared.balance}
    found = []
    for field in schema:
        counts = [("none" if value is None else str(value), frames) for value, frames in balance.get(field.name, ())]
        found.append(CardColumn(field.name, str(field.type), counts=tuple(counts), values=len(counts)))
    return tuple(found)


def _quoted(text: str) -> str:
    """Return a text as a Python string on one line."""
    return json.dumps(text, ensure_ascii=False)


def _files(out: str, splits: Sequence[str]) -> str:
    """Return the files of each split as `datasets` takes them from a bucket, in Python."""
    files = {name: f"{out}/data/{name}-*.parquet" for name in splits}
    return _quoted(f"{out}/data/*.parquet") if splits == (TRAIN,) else json.dumps(files, ensure_ascii=False)


def _sql(text: str) -> str:
    """Return a text as a string of SQL on one line."""
    doubled = " ".join(text.split()).replace("'", "''")
    return f"'{doubled}'"
