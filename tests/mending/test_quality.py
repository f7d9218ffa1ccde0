"""What the frames are like: each figure against comparing every pair, DuckDB or counting."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import imagehash
import numpy as np
import pyarrow as pa
import pytest
from made_up import MADE_UP

from render import open_store
from render.catalog.catalog import Catalog
from render.catalog.sidecars import MARKS, ScoreFiles, write_marks
from render.cli import main
from render.mending.quality import quality_of

pytest_plugins = ["made_up"]
draw = np.random.default_rng(8)


def rows(out: Path) -> list[dict[str, str]]:
    """Each key once, with its prompt."""
    found = open_store(out).dataset().to_table(["key", "prompt"]).to_pylist()
    return [*{row["key"]: row for row in found}.values()]


def by_prompt(out: Path, values: dict[str, object]) -> dict[str, list[object]]:
    groups: dict[str, list[object]] = {}
    for row in rows(out):
        groups.setdefault(row["prompt"], []).append(values[row["key"]])
    return {prompt: group for prompt, group in groups.items() if len(group) > 1}


def test_diversity_by_embeddings_is_the_mean_cosine_distance_of_all_pairs(out: Path) -> None:
    vectors: dict[str, object] = {}
    for row in rows(out):
        vector = draw.normal(size=8)
        vectors[row["key"]] = (vector / np.linalg.norm(vector)).astype(np.float16)
    columns = {"key": [*vectors], "clip_score": [1.0] * len(vectors)}
    embeddings = pa.array([*vectors.values()], pa.list_(pa.float16()))
    ScoreFiles(out, "clip").write(pa.table(columns | {"clip_embedding": embeddings}), {"kind": "clip"})
    quality = quality_of(out)
    wanted = {
        prompt: np.mean([1 - np.dot(*np.asarray(pair, np.float64)) for pair in combinations(group, 2)])
        for prompt, group in by_prompt(out, vectors).items()
    }
    assert quality.measure == "embeddings"
    assert quality.diversity == pytest.approx(np.mean([*wanted.values()]), abs=2e-3)
    assert [one.prompt for one in quality.least_diverse] == sorted(wanted, key=lambda one: wanted[one])[:8]
    for one in quality.least_diverse:
        assert one.distance == pytest.approx(wanted[one.prompt], abs=2e-3)


def test_diversity_by_hashes_is_the_mean_share_of_bits(out: Path) -> None:
    hashes: dict[str, object] = {row["key"]: f"{int(draw.integers(0, 2**63)):016x}" for row in rows(out)}
    ScoreFiles(out, "phash").write(pa.table({"key": [*hashes], "phash": [*hashes.values()]}), {"kind": "phash"})
    quality = quality_of(out)
    distances = [
        np.mean(
            [(imagehash.hex_to_hash(str(a)) - imagehash.hex_to_hash(str(b))) / 64 for a, b in combinations(group, 2)]
        )
        for group in by_prompt(out, hashes).values()
    ]
    assert quality.measure == "hashes"
    assert quality.diversity == pytest.approx(np.mean(distances), abs=1e-5)


def test_counts_and_examples(out: Path) -> None:
    keys = [row["key"] for row in rows(out)]
    values = [float(place) for place in range(len(keys))]
    ScoreFiles(out, "sharp").write(pa.table({"key": keys, "sharp": values}), {"kind": "sharpness"})
    groups = [keys[0] if place < 3 else None for place in range(len(keys))]
    near = pa.table([keys, pa.array(groups, pa.string())], names=["key", "near_group"])
    ScoreFiles(out, "near").write(near, {"kind": "near"})
    marked = [keys[:3], ["keep", "keep", "reject"], [5, None, 1], [None] * 3, [datetime.now(UTC)] * 3]
    write_marks(out, pa.table(marked, schema=MARKS))
    quality = quality_of(out)
    with Catalog(out) as catalog:
        wanted = catalog.query("SELECT thing, count(*) AS n FROM frames GROUP BY 1").to_pylist()
        lowest = catalog.query("SELECT prompt FROM frames ORDER BY sharp LIMIT 1")["prompt"][0].as_py()
    assert quality.frames == MADE_UP
    (coverage,) = quality.coverage
    assert (coverage.label, dict(coverage.counts)) == ("thing", {row["thing"]: row["n"] for row in wanted})
    (histogram,) = quality.histograms
    assert (histogram.low, histogram.high) == (0, len(keys) - 1)
    assert sum(histogram.counts) == MADE_UP
    assert quality.near_groups == 1
    assert dict(quality.flags) == {
        "blank": dict(quality.flags)["blank"],
        "keep": 2,
        "reject": 1,
        "rated 1": 1,
        "rated 5": 1,
    }
    ((name, worst),) = quality.worst
    assert (name, worst[0].value, worst[0].prompt) == ("sharp", 0, lowest)
    assert [one.value for one in worst] == sorted(one.value for one in worst)
    assert len({one.prompt for one in worst}) == len(worst) == 6
    assert all(one.picture.startswith("data:image/webp;base64,") for one in worst)


def test_the_page_has_it_and_an_output_without_scores_says_how_to_get_them(
    out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    assert main(["report", str(out), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<h2>Frames by thing</h2>" in text
    assert "`render score OUT --with clip`" in text
    assert "<img" not in text
    hostile = {"key": [row["key"] for row in rows(out)][:1], '<script>"': [1.0]}
    ScoreFiles(out, "odd").write(pa.table(hostile), {"kind": "sharpness"})
    assert main(["report", str(out), "--html", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "<img" in text
    open_store(out).files[0].write_bytes(b"")
    capsys.readouterr()
    assert main(["report", str(out), "--html", str(page)]) == 0
    assert "warning: the page does not say what the pictures are like" in capsys.readouterr().err
    assert "Damage" in page.read_text(encoding="utf-8")


def test_an_empty_output(out: Path) -> None:
    for record in (out / ".run" / "commits").iterdir():
        record.unlink()
    quality = quality_of(out)
    assert (quality.frames, quality.prompts, quality.histograms, quality.measure) == (0, 0, (), "")
