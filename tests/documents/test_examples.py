"""What the pages show works: manifests and jobs plan, Python runs, commands are parsed and planned."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import yaml
from pages import PAGES, ROOT, Snippet, code_words, command_lines, snippets

import render
from render import cli
from render.job import load_job, this_machine
from render.plan import plan_units
from render.prepare import prepare
from render.prepare.resume import record_or_resume
from render.store import Ledger, Origin, rendered, shard_schema, write_shard

COMMANDS = [(page, words) for page, words in command_lines() if "render" in words]
OTHERS = [(page, words) for page, words in command_lines() if "render" not in words]
MENTIONED = [(page, word) for page in PAGES for word in code_words(page) if re.match(r"render \w+ [\w./-]+/", word)]
STORE_SECTIONS = {"sheets": "sheets", "animate": "animation"}


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the examples of the repository, to be in."""
    for name in ("jobs", "manifests"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run_without_a_model(target: str | Path, *overrides: str) -> render.Summary:
    """Do what `render.run_job` does, with noise in place of what a model would draw."""
    prepared = record_or_resume(prepare(load_job(Path(target), overrides)))
    ledger, random = Ledger(prepared.job.output), np.random.default_rng(0)
    ledger.create()
    origin = Origin("starter", "", "cpu", "float32", "png")
    schema = shard_schema(prepared.manifest.label_schema)
    for unit in ledger.outstanding(plan_units(prepared.manifest.walks, prepared.plan)):
        _, width, height = unit.group
        pixels = random.integers(0, 256, (len(unit.frames), height, width, 3), np.uint8)
        images = [rendered(image, "png") for image in pixels]
        assert ledger.commit(write_shard(ledger, unit, images, origin, schema, 1.0))
    return render.Summary(prepared.job.output, prepared.counts.frames, 0, 0, (), (), 1.0, 1.0, 0.0)


@pytest.mark.slow
@pytest.mark.parametrize("snippet", snippets("python"), ids=str)
def test_python_runs(snippet: Snippet, clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = compile(snippet.text, snippet.page, "exec")
    if not snippet.text.startswith("import render"):
        assert snippet.page == "docs/python.md"  # a signature
        return
    monkeypatch.setattr(render, "run_job", run_without_a_model)
    run_without_a_model("manifests/first.csv", "output=out/first")
    exec(compiled, {})


def media_of(header: str) -> Path:
    """The folder of the files that an example manifest names."""
    return ROOT / "manifests" / ("music" if "audio" in header.split(",") else "gallery")


@pytest.mark.parametrize("snippet", snippets("csv"), ids=str)
def test_manifests_plan(snippet: Snippet, clone: Path) -> None:
    (clone / "example.csv").write_text(snippet.text, encoding="utf-8")
    prepared = render.plan_job("example.csv", f"media={media_of(snippet.text.splitlines()[0])}")
    assert prepared.counts.frames > 0
    assert not prepared.warnings


@pytest.mark.parametrize("snippet", snippets("yaml"), ids=str)
def test_jobs_load(snippet: Snippet, clone: Path) -> None:
    """With the README's manifest where they name none; those of the embedded model are planned, too."""
    (clone / "docs").mkdir()
    (clone / "docs" / "animals.csv").write_text(snippets("csv")[0].text, encoding="utf-8")
    (clone / "docs" / "job.yaml").write_text(snippet.text, encoding="utf-8")
    own = ["manifest=animals.csv"] if "manifest" not in yaml.safe_load(snippet.text) else []
    job = load_job(Path("docs/job.yaml"), own)
    if {model.id for model in job.all_models.values()} == {"starter"}:
        assert render.plan_job("docs/job.yaml", *own).counts.frames > 0


def test_the_readmes_manifest_and_job_have_six_lines() -> None:
    for language in ("csv", "yaml"):
        assert [s.text.count("\n") for s in snippets(language) if s.page == "README.md"] == [6]


def arguments_of(words: list[str]) -> list[str]:
    """What follows `render` on a command line, whatever starts it."""
    return words[words.index("render") + 1 :]


def check_command(arguments: list[str]) -> None:
    """Parse a command; plan what it renders, and load the settings that it changes."""
    options = cli._parser().parse_args(arguments)
    command = arguments[0]
    if command in {"run", "plan"} and not options.overrides and options.target.parent == Path("jobs"):
        assert options.target.exists()  # tests/test_jobs.py plans all of them
    elif command in {"run", "plan"}:
        with patch("render.prepare.job_plan.look_at", lambda _: this_machine()):  # no cluster is here
            assert render.plan_job(options.target, *options.overrides).counts.frames > 0
    elif command == "expand" and options.templates.exists():
        assert cli.main(arguments) == 0
        assert options.output.exists()
    elif command in STORE_SECTIONS:
        assert all(text.startswith(f"{STORE_SECTIONS[command]}.") for text in options.overrides)
        load_job(Path("manifests/first.csv"), options.overrides)


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_commands_are_understood(page: str, words: list[str], clone: Path) -> None:
    if arguments_of(words) == ["--version"]:
        with pytest.raises(SystemExit, match="0"):
            cli.main(["--version"])
        return
    check_command(arguments_of(words))


@pytest.mark.parametrize(("page", "word"), MENTIONED)
def test_commands_in_a_sentence_are_understood(page: str, word: str, clone: Path) -> None:
    check_command(word.partition(" && ")[0].split()[1:])


def test_there_are_commands() -> None:
    assert {arguments_of(words)[0] for _, words in COMMANDS} >= {"run", "plan", "expand", "sheets", "animate", "verify"}
    assert MENTIONED


@pytest.mark.parametrize(
    ("page", "words"), OTHERS, ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_other_commands_name_what_there_is(page: str, words: list[str]) -> None:
    """Scripts, modules, folders and extras."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for word in words:
        if found := re.fullmatch(r"\.\[(\w+)\]", word):
            assert found[1] in extras
        elif re.match(r"(tests|training|render)[/.]", word):
            path = ROOT / word
            assert path.exists() or (ROOT / f"{word.replace('.', '/')}.py").exists(), f"{page}: {word}"


def test_the_combination_that_is_shown_is_the_example() -> None:
    lines = (ROOT / "manifests" / "combine.yaml").read_text(encoding="utf-8").splitlines()
    shown = "\n".join(f"    {line}" for line in lines if not line.startswith("#"))
    assert f"\n\n{shown}\n\n" in PAGES["docs/templates.md"]


def plan_lines() -> Iterator[str]:
    """The lines of the page on commands that `render plan manifests/first.csv` is said to print."""
    page = PAGES["docs/commands.md"].partition("## What `render plan` shows\n")[2]
    return (line.removeprefix("    ") for line in page.splitlines() if line.startswith("    "))


def test_the_plan_that_is_shown_is_what_is_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """But for what depends on the machine: batch sizes and workers."""
    monkeypatch.chdir(ROOT)
    assert cli.main(["plan", "manifests/first.csv"]) == 0
    printed = capsys.readouterr().out.splitlines()
    for shown, line in zip(plan_lines(), printed, strict=True):
        assert shown.split()[0] == line.split()[0]
        if shown.split()[0] not in {"frames", "workers"}:
            assert shown == line


def test_the_check_takes_its_command_from_the_readme() -> None:
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "README.md" in script
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text(encoding="utf-8"))
    job = workflow["jobs"]["checks"]
    assert job["steps"][-1] == {"run": "bash .ci/run"}
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    assert all(f"Programming Language :: Python :: {one}" in classifiers for one in job["strategy"]["matrix"]["python"])
    assert os.access(ROOT / ".ci" / "run", os.R_OK)
