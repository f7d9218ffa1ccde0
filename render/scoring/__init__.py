"""Say what pictures are like: scores of every committed frame, in sidecars beside the shards.

`score_store` finds the frames that have no score yet, and has Ray's workers read, score and write them in parts. A kind of
score is one entry of KINDS (`kinds.py`): its columns, and a function from pictures and prompts to their values. Scores
never change a shard and never leave a frame out: what is done with them is the user's choice.
"""

from __future__ import annotations

from render.scoring.score import Scored, score_store

__all__ = ["Scored", "score_store"]
