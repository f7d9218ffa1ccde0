"""Templates: `{red|blue} car`, wildcard files and the lists of other programs → a manifest, for `render expand`.

Come in by `expand_templates`. `sources.py` reads templates, lines with flags (`flags.py`) and keyframes (`schedule.py`);
`styles.py` puts prompts into styles. The grammar is that of `dynamicprompts`; the library is imported in `grammar.py` and
`wildcards.py` alone, which also refuse whatever it would silently read in another way than it was meant.

Promises: the same seed gives the same prompts in every process, whatever the other rows are. Every bad template is reported,
with its row. The target appears whole or not at all.
"""

from __future__ import annotations

from render.templates.expand import Expansion, expand_templates

__all__ = [
    "Expansion",
    "expand_templates",
]
