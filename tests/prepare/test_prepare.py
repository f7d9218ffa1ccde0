"""Jobs that are checked and planned: how prompts are read, and with which models."""

from __future__ import annotations

from pathlib import Path

import pytest
from pipelines import make_pipeline

from render import plan_job
from render.core.errors import JobError, ManifestError, StoreError
from render.prepare import resume
from render.store import OutputFolder


@pytest.fixture(scope="module")
def pixart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pipeline("pixart", tmp_path_factory.mktemp("models") / "pixart")


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    path = tmp_path / "m.csv"
    path.write_text('prompt,model\n(3d dog face:1.3),\n"a face, BREAK, a dog",\n')
    return path


def test_weights_are_warned_of_where_they_are_text(manifest: Path) -> None:
    weights, parts = plan_job(manifest).warnings
    assert "m: row 1: weights such as '(3d dog face:1.3)' are taken literally (1 row)" in weights
    assert plan_job(manifest, "sampling.prompt_syntax=weighted").warnings == (parts,)
    assert "m: row 2: parts such as 'BREAK'" in parts


def test_weighted_prompts_are_read_in_windows_and_lose_no_words(manifest: Path) -> None:
    manifest.write_text(f"prompt\n{'3d dog face on a blue background ' * 6}\n")
    (warning,) = plan_job(manifest).warnings
    assert "token limit" in warning
    assert plan_job(manifest, "sampling.prompt_syntax=weighted").warnings == ()


def test_weights_are_refused_for_a_model_that_has_none(manifest: Path, pixart: Path) -> None:
    """If a row uses it: a model that no row names is no reason."""
    weighted = ("sampling.prompt_syntax=weighted", "sampling.width=64", "sampling.height=64")
    models = (f"models.p.id={pixart}", *weighted)
    plan_job(manifest, *models)
    manifest.write_text("prompt,model\na,\nb,p\n")
    with pytest.raises(JobError, match=r"'sampling\.prompt_syntax': required plain with model 'p' \(weighted is for"):
        plan_job(manifest, *models)
    with pytest.raises(JobError, match="required plain with the model"):
        plan_job(manifest, f"model.id={pixart}", f"models.p.id={pixart}", *weighted)


def test_weights_that_are_too_large_are_errors_of_the_manifest(manifest: Path) -> None:
    manifest.write_text("prompt\n(a:1.5)\n(b:11)\n")
    plan_job(manifest)
    with pytest.raises(ManifestError, match=r"m\.csv: row 2, column 'prompt': required weights of -10 … 10; got 11"):
        plan_job(manifest, "sampling.prompt_syntax=weighted")


def test_of_two_jobs_that_begin_one_output_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (
        plan_job("manifests/first.csv", f"output={tmp_path / 'out'}", f"sampling.steps={n}") for n in (4, 5)
    )
    check = resume._check_empty

    def begun_meanwhile(folder: OutputFolder) -> None:
        monkeypatch.setattr(resume, "_check_empty", check)
        resume.record_or_resume(first)

    monkeypatch.setattr(resume, "_check_empty", begun_meanwhile)
    with pytest.raises(StoreError, match="that did just now; the same command looks again"):
        resume.record_or_resume(second)
    assert resume.load_plan(tmp_path / "out") == first.plan
