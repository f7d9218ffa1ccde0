"""Write the dataset card of an output folder: its content, how it was made, how to open it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from string import Template

from render.core import TRAIN, ObjectPath, input_path, write_atomically
from render.prepare import Prepared
from render.store import STORE_TABLE, OutputFolder

__all__ = ["plain", "write_card"]

MARKUP = re.compile(r"[\\`*\[\]|!~#$:@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # `:` and `@`: links

CARD = Template("""\
---
configs:
- config_name: default
  data_files:
$data_files
task_categories:
- text-to-image
tags:
- synthetic
- nightrender
---
# $name

$frames images rendered from $manifest with the $models: $walks walks and $stills stills. Written by nightrender.

```python
from datasets import load_dataset
images = load_dataset($dataset, split="$split")

import render
store = render.open_store($code_out)
store.frame($code_example).image()
```
```sql
select walk, frame, prompt, seed from $sql_data;
```

| column | type | meaning |
|---|---|---|
$columns

Further columns are labels: columns of the manifest that nightrender does not use itself. Animations of the walks are in
`animations/`. The folder `.run/` holds job, manifest, plan and commit records; the same command resumes the job from them.
""")


def write_card(prepared: Prepared) -> None:
    """Write OUT/README.md; its YAML header lists the files that `datasets.load_dataset` reads."""
    job, counts = prepared.job, prepared.counts
    tables = [job.manifest, *(input_path(part.table) for part in prepared.plan.extensions if part.table)]
    is_object = isinstance(job.output, ObjectPath)
    out = str(job.output) if is_object else job.output.name
    data, splits = f"{out}/data/*.parquet", prepared.manifest.splits
    text = CARD.substitute(
        name=plain(job.output.name),
        data_files="\n".join(f"  - split: {name}\n    path: data/{name}-*.parquet" for name in splits),
        split=splits[0],
        frames=counts.frames,
        walks=counts.walks,
        stills=counts.stills,
        manifest=plain(" and ".join(table.name for table in tables)),
        models=_models(prepared),
        columns="\n".join(f"| `{column.name}` | {column.type} | {column.meaning} |" for column in STORE_TABLE),
        code_out=_quoted(out),
        dataset=f'"parquet", data_files={_files(out, splits)}' if is_object else _quoted(out),
        code_example=_quoted(next(prepared.manifest.walks()).name),
        sql_data=_sql(data),
    )
    write_atomically(OutputFolder(job.output).card, text.encode(errors="replace"))  # a name need not be in UTF-8


def plain(text: str) -> str:
    r"""Return a text as Markdown shows it, none of whose signs is markup; on one line.

    >>> print(plain("cats_1 <b>*new*</b>.csv"))
    cats_1 &lt;b&gt;\*new\*&lt;/b&gt;.csv
    """
    joined = " ".join(text.split())
    return MARKUP.sub(r"\\\g<0>", joined).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


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


def _code(text: str) -> str:
    """Return a text as code within a line of Markdown, whose end its own backticks can't be."""
    return f"`{' '.join(text.split()).replace('`', chr(39))}`"


def _models(prepared: Prepared) -> str:
    """Name the models by id and fingerprint; of several, each also by its name in the job."""
    several = len(prepared.models) > 1
    names = [
        _code(model.id)
        + (f" at {_code(model.revision)}" if model.revision else "")
        + f" ({f'`{name}`, ' if several else ''}fingerprint `{model.fingerprint}`)"
        for name, model in prepared.models.items()
    ]
    return f"model{'s' if several else ''} {' and '.join(names)}"
