"""The dataset card of an output folder: what lies in it, how it was made, how to open it."""

from __future__ import annotations

from string import Template

from render.core import write_atomically
from render.prepare import Prepared
from render.store import OutputFolder

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
images = load_dataset("$out", split="train")

import render
store = render.open_store("$out")
store.frame("$example").image()
```
```sql
select walk, frame, prompt, seed from '$out/data/*.parquet';
```

| column | what it holds |
|---|---|
| `image` | the picture: `bytes` and a `path` to name it by |
| `prompt`, `negative_prompt`, `seed` | of the keyframe that the frame starts from |
| `step`, `cfg`, `sampler`, `width`, `height` | sampling steps, guidance scale, scheduler, size in pixels |
| `walk`, `frame` | the walk's or still's name, and the frame's place in it from 0 |
| `recipe` | JSON of everything that fixes the pixels, the point between the keyframes included |
| `key` | the recipe's hash |
| `sha256` | of the pixels as uint8 RGB before encoding |
| `model`, `revision` | which model |
| `batch_rows`, `device`, `dtype` | what the last bits depend on besides |
| `timestamp`, `render_ms` | when it was made, and the time a frame of its shard took |

Further columns are labels of the manifest. Animations of the walks are in `animations/`. The folder `.run/` holds job,
manifest, plan and commit records; the same command resumes the job from them.
""")


def write_card(prepared: Prepared) -> None:
    """Write `README.md` of the output folder, which also tells `datasets` what to load."""
    job, counts = prepared.job, prepared.counts
    text = CARD.substitute(
        name=job.output.name,
        frames=counts.frames,
        walks=counts.walks,
        stills=counts.stills,
        manifest=job.manifest.name,
        models=_models(prepared),
        out=job.output.name,
        example=next(prepared.manifest.walks()).name,
    )
    write_atomically(OutputFolder(job.output).card, text.encode())


def _models(prepared: Prepared) -> str:
    """Which models, each with its name in the job where there are several."""
    several = len(prepared.models) > 1
    told = [
        f"`{model.id}`"
        + (f" at `{model.revision}`" if model.revision else "")
        + f" ({f'`{name}`, ' if several else ''}fingerprint `{model.fingerprint}`)"
        for name, model in prepared.models.items()
    ]
    return f"model{'s' if several else ''} {' and '.join(told)}"
