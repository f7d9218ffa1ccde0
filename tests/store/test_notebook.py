"""Stores, walks and frames as a notebook and a prompt show them."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from painters import painting
from PIL import Image, ImageSequence

from render import ImageStore, open_store, run_job
from render.store import notebook, reader

HOSTILE = "<script>alert(1)</script>\n\" onerror='x'"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> ImageStore:
    folder = tmp_path_factory.mktemp("notebook")
    walk = [{"walk": "w", "prompt": HOSTILE, "seed": 1, "frames": 5}, {"walk": "w", "prompt": "b" * 900, "seed": 2}]
    stills = [{"prompt": f"still {seed}", "seed": seed} for seed in range(30)]
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in walk + stills))
    size = ("sampling.width=512", "sampling.height=256", "animation.formats=[]", "sheets.kinds=[]")
    with painting():
        run_job(folder / "table.jsonl", f"output={folder / 'out'}", *size)
    return open_store(folder / "out")


def images(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_each_is_one_line_at_a_prompt(store: ImageStore) -> None:
    assert repr(store) == f"<ImageStore {str(store.path)!r}: {len(store.files)} shards>"
    assert repr(store.frames("w")) == "<Frames: 6 frames>"
    frame = store.frame("w", 5)
    assert repr(frame).startswith("<StoredFrame 'w' 5: 'bbbb")
    assert repr(frame).endswith(f"seed 2, {len(frame.data):,} bytes>")
    assert len(repr(frame)) < 220
    assert all("\n" not in repr(one) for one in (store, store.frames("w"), *store.frames("w")))


def test_a_store_shows_its_facts_and_a_dozen_pictures(store: ImageStore) -> None:
    html = store._repr_html_()
    assert '<td style="text-align:left">36</td>' in html
    assert "1 walk, 30 stills" in html
    assert len(images(html)) == notebook.THUMBNAILS
    assert {image.size for image in images(html)} == {(96, 48)}
    assert "<script" not in html
    assert len(html) < 100_000


def test_a_walk_plays(store: ImageStore) -> None:
    html = store.frames("w")._repr_html_()
    (animation,) = images(html)
    played = [np.asarray(frame.convert("RGB"), int) for frame in ImageSequence.Iterator(animation)]
    stored = [np.asarray(frame.image().resize((256, 128)), int) for frame in store.frames("w")]
    assert len(played) == 6
    assert max(np.abs(a - b).mean() for a, b in zip(played, stored, strict=True)) < 6
    assert animation.info["loop"] == 0
    assert "w: 6 frames" in html


def test_a_long_walk_is_thinned(store: ImageStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "SHOWN_MAX", 3)
    html = store.frames("w")._repr_html_()
    assert "w: 6 frames, 3 of them shown" in html
    assert getattr(images(html)[0], "n_frames", 1) == 3


def test_damaged_pictures_are_left_out(store: ImageStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    frames = store.frames("w")
    monkeypatch.setattr(reader, "readable", lambda _: iter([]))
    assert frames._repr_html_() == "&lt;Frames: 6 frames&gt;"
    assert "36" in store._repr_html_()
