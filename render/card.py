"""Write the dataset card of an output folder: its content, how it was made, how to open it."""

from __future__ import annotations

from pathlib import Path
from string import Template

from render.core import ObjectPath, write_atomically
from render.prepare import Prepared
from render.store import STORE_TABLE, OutputFolder

__all__ = ["write_card"]

CARD = Template("""\
---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*.parquet
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
images = load_dataset($dataset, split="train")

import render
store = render.open_store("$out")
store.frame("$example").image()
```
```sql
select walk, frame, prompt, seed from '$out/data/*.parquet';
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
    is_object = isinstance(job.output, ObjectPath)
    out = str(job.output) if is_object else job.output.name
    text = CARD.substitute(
        name=job.output.name,
        frames=counts.frames,
        walks=counts.walks,
        stills=counts.stills,
        manifest=" and ".join([job.manifest.name, *(Path(p.table).name for p in prepared.plan.extensions if p.table)]),
        models=_models(prepared),
        columns="\n".join(f"| `{column.name}` | {column.type} | {column.meaning} |" for column in STORE_TABLE),
        out=out,
        dataset=f'"parquet", data_files="{out}/data/*.parquet"' if is_object else f'"{out}"',
        example=next(prepared.manifest.walks()).name,
    )
    write_atomically(OutputFolder(job.output).card, text.encode())


def _models(prepared: Prepared) -> str:
    """Name the models by id and fingerprint; of several, each also by its name in the job."""
    several = len(prepared.models) > 1
    names = [
        f"`{model.id}`"
        + (f" at `{model.revision}`" if model.revision else "")
        + f" ({f'`{name}`, ' if several else ''}fingerprint `{model.fingerprint}`)"
        for name, model in prepared.models.items()
    ]
    return f"model{'s' if several else ''} {' and '.join(names)}"
