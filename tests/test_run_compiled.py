"""A whole run with a compiled network: company does not show, and frames reproduce. One test: C++ takes a minute."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch._dynamo
from pipelines import make_pipeline
from stores import run_here

from render import open_store
from render.prepare.resume import load_plan
from render.reproduce import reproduce_frame

TABLE = """\
prompt,seed,steps,guidance
a red fox,1,2,3
a blue boat,2,3,1
a green tree,3,1,5
"""


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning")  # torch's own
def test_a_compiled_store_reproduces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network with the fewest kinds of block; three frames of other steps and guidance in one batch, then one alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "inductor"))
    compile = torch.compile
    only_blocks = lambda call, **settings: call if call.__name__ == "decode" else compile(call, **settings)  # noqa: E731
    monkeypatch.setattr(torch, "compile", only_blocks)  # the decoder would take another minute
    torch._dynamo.reset()
    model = make_pipeline("pixart", tmp_path / "model")
    manifest = tmp_path / "three.csv"
    manifest.write_text(TABLE)
    small = ("sampling.width=32", "sampling.height=32", "workers.count=1", "workers.cpus=1", "workers.dtype=float32")
    out = tmp_path / "out"
    with torch._dynamo.config.patch(recompile_limit=8, fail_on_recompile_limit_hit=False):
        run_here(manifest, f"model.id={model}", *small, f"output={out}", "animation.formats=[]", "workers.compile=on")
        rows = open_store(out).dataset().to_table().to_pylist()
        assert [(row["compiled"], row["exact"], row["decode_rows"]) for row in rows] == [(True, True, 1)] * 3
        assert load_plan(out).compile
        compiled = reproduce_frame(out, rows[1]["key"])
        assert compiled.same
        monkeypatch.setattr("render.reproduce._row", lambda *_: rows[1] | {"compiled": False})
        eager = reproduce_frame(out, rows[1]["key"])
    assert eager.psnr_db > 40  # nearly the same picture …
    torch._dynamo.reset()
