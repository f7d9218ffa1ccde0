"""The dataset card of a store and of an export, and the Croissant metadata: by the libraries that read them."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from exports import FRAMES, export, rows_of
from PIL import Image

from render.catalog import ScoreFiles
from render.export.card import Card, CardColumn, Histogram, card_text
from render.models import ModelTerms, model_terms

pytest_plugins = ["exports"]
DATASETS = ("hf", "webdataset", "imagefolder")


def parts_of(folder: Path) -> tuple[dict[str, Any], str]:
    """Header and body of a card."""
    _, header, body = (folder / "README.md").read_text(encoding="utf-8").split("---\n", 2)
    return yaml.safe_load(header), body


@pytest.mark.parametrize("to", DATASETS)
def test_datasets_opens_the_folder_by_its_card(store: Path, tmp_path: Path, to: str) -> None:
    import datasets

    done = export(store, tmp_path / "pets-night", to, splits="train=0.7,dev=0.3")
    for split, frames in done.frames.items():
        images = datasets.load_dataset(str(tmp_path / "pets-night"), split=split, cache_dir=str(tmp_path / "cache"))
        assert len(images) == frames


@pytest.mark.parametrize("to", [*DATASETS, "csv"])
def test_the_code_on_the_card_runs_anywhere(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, to: str
) -> None:
    export(store, tmp_path / to, to, where="frame = 0 AND seed = 1")
    _, body = parts_of(tmp_path / to)
    python = body.split("```python\n")[1].split("```")[0]
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir("/")
    found: dict[str, Any] = {}
    exec(python.replace('folder = "."', f"folder = {str(tmp_path / to)!r}"), found)
    assert len(found["images"]) == len(
        [row for row in rows_of(store).values() if row["frame"] == 0 and row["seed"] == 1]
    )


def test_the_header_is_what_the_hub_reads(store: Path, tmp_path: Path) -> None:
    from huggingface_hub import DatasetCard

    export(store, tmp_path / "pets", splits="train=0.7,dev=0.3", license="cc-by-4.0", language="en, de")
    header = DatasetCard.load(tmp_path / "pets" / "README.md").data.to_dict()
    assert (header["license"], header["language"]) == ("cc-by-4.0", ["en", "de"])
    assert header["size_categories"] == ["n<1K"]
    assert header["task_categories"] == ["text-to-image", "image-classification"]
    files = {part["split"]: part["path"] for part in header["configs"][0]["data_files"]}
    assert files == {"train": "data/train-*.parquet", "dev": "data/dev-*.parquet"}


def test_what_is_not_known_is_left_out_of_the_header(store: Path, tmp_path: Path) -> None:
    export(store, tmp_path / "pets")
    assert not {"license", "language"} & set(parts_of(tmp_path / "pets")[0])


def test_the_card_counts_labels_settings_and_scores(copied_store: Path, tmp_path: Path) -> None:
    keys = [row["key"] for row in rows_of(copied_store).values()]
    scores = {"key": keys, "sharpness": [n / len(keys) for n in range(len(keys))]}
    ScoreFiles(copied_store, "sharpness").write(pa.table(scores), {})
    export(copied_store, tmp_path / "few", where="thing IN ('rocket', 'octopus') AND frame = 0")
    rows = [r for r in rows_of(copied_store).values() if r["thing"] in ("rocket", "octopus") and r["frame"] == 0]
    _, body = parts_of(tmp_path / "few")
    rockets = sum(row["thing"] == "rocket" for row in rows)
    assert f"rocket ({rockets})" in body
    assert f"octopus ({len(rows) - rockets})" in body
    assert f"| steps | 20 ({len(rows)}) |" in body
    assert f"| size | 128x128 ({len(rows)}) |" in body
    (histogram,) = body.split("```text\n")[1:]
    counts = [int(line.rsplit(" ", 1)[1]) for line in histogram.split("```")[0].strip().splitlines()]
    assert len(counts) == 10
    assert sum(counts) == len(rows)
    assert "`thing IN ('rocket', 'octopus') AND frame = 0`" in body
    with Image.open(tmp_path / "few" / "samples.jpg") as sheet:
        assert sheet.size == (960, 640)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what it imports
def test_croissant_is_valid_and_reads_the_records(store: Path, tmp_path: Path) -> None:
    croissant = pytest.importorskip("mlcroissant")
    for to in ("hf", "webdataset", "imagefolder", "csv", "kohya"):
        export(store, tmp_path / to, to, where="walk = 'walk-0'", license="cc-by-4.0")
        with contextlib.redirect_stderr(io.StringIO()):
            metadata = croissant.Dataset(str(tmp_path / to / "croissant.json")).metadata
        assert not metadata.ctx.issues.errors
        assert metadata.name == to
    dataset = croissant.Dataset(str(tmp_path / "hf" / "croissant.json"))
    found = list(dataset.records("train"))
    assert len(found) == 24
    assert {record["train/walk"] for record in found} == {b"walk-0"}
    assert {record["train/image"].size for record in found} == {(128, 128)}


def test_nothing_that_is_published_tells_of_the_machine(store: Path, tmp_path: Path) -> None:
    for to in ("hf", "webdataset", "imagefolder", "csv", "kohya"):
        export(store, tmp_path / to, to)
        for path in (tmp_path / to).rglob("*"):
            if path.is_file():
                data = path.read_bytes()
                assert str(tmp_path).encode() not in data, path
                assert str(store.parent).encode() not in data, path
        assert not (tmp_path / to / ".run").exists()


def test_texts_are_no_markup() -> None:
    evil = "<script>x</script> | [a](b) ```\n---\nlicense: mit"
    card = Card(
        name=evil,
        intro="",
        frames=1,
        files=(),
        opening=(),
        columns=(CardColumn(evil, evil),),
        labels=(CardColumn(evil, "string", counts=((evil, 1),), values=1),),
        recipes=(("scheduler", ((evil, 1),)),),
        scores=(Histogram(evil, 0.0, 1.0, (1,) * 10),),
        splits=(("train", 1),),
    )
    text = card_text(card)
    _, header, body = text.split("---\n", 2)
    assert set(yaml.safe_load(header)) == {"size_categories", "task_categories", "tags"}
    outside = "".join(part for number, part in enumerate(body.replace("\\`", "").split("`")) if number % 2 == 0)
    assert "<script>" not in outside
    assert "[a](b)" not in outside
    tables = [line for line in body.splitlines() if line.startswith("| ")]
    assert all(line.replace("\\|", "").count("|") in (3, 4) for line in tables)


def test_a_model_is_asked_for_its_licence_and_its_word_on_outputs(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text(
        "---\nlicense: other\nlicense_name: my-rail\nlicense_link: https://host/LICENSE\n---\n# Model\n\nIt is quick.\n"
    )
    (tmp_path / "LICENSE").write_text("Use it.\n\nLicensor claims no rights in the Output You generate. More.\n")
    wanted = ModelTerms("my-rail", "https://host/LICENSE", "Licensor claims no rights in the Output You generate.")
    assert model_terms(str(tmp_path)) == wanted
    assert model_terms("nobody/nothing") == ModelTerms()
    assert model_terms(str(tmp_path / "none")) == ModelTerms()
    assert "pictures" in model_terms("starter").outputs


def test_the_note_says_what_was_exported(store: Path, tmp_path: Path) -> None:
    done = export(store, tmp_path / "pets", "kohya")
    note = json.loads((tmp_path / "pets" / ".export" / "export.json").read_text())
    assert (note["to"], note["frames"], note["done"]) == ("kohya", {"train": FRAMES}, True)
    assert done.frames == note["frames"]
