"""Nothing is left out: every column, word, job key, command, option, scheduler and family is documented."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

import pytest
import yaml
from pages import PAGES, code_words, headings, links, table
from tables import TABLES, with_tables

import render
from render import cli
from render.core import COLUMNS, EASINGS, INTERPOLATIONS, SCHEDULERS
from render.job import JobConfig, ModelConfig, to_yaml
from render.job.bounds import BOUNDS
from render.models.families import pipelines
from render.models.families.schedulers import DIFFUSION, FLOW
from render.plan import MOTIONS
from render.store.columns import STORE_COLUMNS
from render.templates.flags import FLAGS

MANIFEST = code_words("docs/manifest.md")
JOB = code_words("docs/job.md")
COMMANDS: dict[str, argparse.ArgumentParser] = next(
    dict(action.choices) for action in cli._parser()._actions if isinstance(action, argparse._SubParsersAction)
)


@pytest.mark.parametrize("flag", FLAGS)
def test_every_flag_of_a_line_is_named(flag: str) -> None:
    assert f"`--{flag}`" in PAGES["docs/templates.md"]


@pytest.mark.parametrize("page", sorted({page for page, _ in TABLES}))
def test_tables_are_those_of_the_code(page: str) -> None:
    """`python tests/documents/tables.py` writes them."""
    text = PAGES[f"docs/{page}"]
    assert with_tables(page, text) == text


@pytest.mark.parametrize("column", [column.name for column in COLUMNS if not column.by_reader])
def test_every_column_of_a_manifest_has_a_row(column: str) -> None:
    assert any(f"`{column}`" in cells[0] for cells in table("docs/manifest.md", "column"))


@pytest.mark.parametrize("word", [*EASINGS, *INTERPOLATIONS, *MOTIONS, *SCHEDULERS])
def test_every_choice_of_a_column_is_named(word: str) -> None:
    assert word in MANIFEST


@pytest.mark.parametrize("column", STORE_COLUMNS)
def test_every_column_of_a_store_has_a_row(column: str) -> None:
    assert any(f"`{column}`" in cells[0] for cells in table("docs/store.md", "column"))


@pytest.mark.parametrize("motion", MOTIONS)
def test_every_motion_has_a_row_and_a_chapter_with_a_picture(motion: str) -> None:
    assert [cells[0] for cells in table("docs/manifest.md", "motion")].count(f"`{motion}`") == 1
    assert motion in headings("docs/walks.md")
    chapter = PAGES["docs/walks.md"].partition(f"## {motion}\n")[2].partition("\n## ")[0]
    assert f"](pictures/{motion}.jpg)" in chapter


def _leaves(prefix: str, value: object) -> Iterator[tuple[str, object]]:
    """Yield (key, default) of all keys, as a job file has them."""
    if not isinstance(value, dict) or not value:
        yield prefix, value
        return
    for name, part in value.items():
        yield from _leaves(f"{prefix}.{name}".lstrip("."), part)


NO_PATH = ("???", ".")  # paths that are found when a job is loaded
DEFAULTS = dict(_leaves("", yaml.safe_load(to_yaml(JobConfig()))))


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_job_key_has_a_row_with_its_default(key: str) -> None:
    ((_, said, _),) = [cells for cells in table("docs/job.md", "key") if f"`{key}`" in cells[0].split(", ")]
    if DEFAULTS[key] in (None, *NO_PATH):
        assert "`" not in said
    else:
        assert yaml.safe_load(said.strip("`")) == DEFAULTS[key]


def test_no_job_key_is_made_up() -> None:
    told = {key for cells in table("docs/job.md", "key") for key in re.findall(r"`([^`]+)`", cells[0])}
    assert told == set(DEFAULTS)
    assert set(ModelConfig.__dataclass_fields__) == {key.removeprefix("model.") for key in told if "model." in key}


CHOICES = {
    key: re.sub("^(one|a list) of ", "", text) for key, (text, _) in BOUNDS.items() if re.match("one|a list", text)
}


@pytest.mark.parametrize("key", CHOICES)
def test_every_choice_of_a_job_is_named(key: str) -> None:
    """Those of `sampling.*` are on the page of manifests."""
    assert set(CHOICES[key].split(", ")) <= {*(MANIFEST if key.startswith("sampling.") else JOB)}


def test_there_are_choices() -> None:
    assert {"animation.formats", "animation.loop", "sheets.kinds", "store.format", "sampling.scheduler"} <= set(CHOICES)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_row_with_its_arguments_and_options(command: str) -> None:
    ((_, arguments, options),) = [c for c in table("docs/commands.md", "command") if c[0] == f"`render {command}`"]
    for action in COMMANDS[command]._actions:
        if isinstance(action, argparse._HelpAction):
            continue
        for option in action.option_strings:
            assert f"`{option}`" in options
        if not action.option_strings:
            assert f"`{action.metavar}`" in arguments
        for choice in action.choices or ():
            assert f"`{choice}`" in options
    known = {option for action in COMMANDS[command]._actions for option in action.option_strings}
    assert set(re.findall(r"`(-[-\w]+)`", options)) <= known


def test_no_command_is_made_up() -> None:
    assert {cells[0] for cells in table("docs/commands.md", "command")} == {f"`render {name}`" for name in COMMANDS}


def test_every_exit_code_has_a_row() -> None:
    codes = {cells[0] for cells in table("docs/commands.md", "code")}
    assert codes == {str(code) for code in (cli.DONE, cli.FAILED, cli.BAD_INPUT, cli.QUARANTINED)}


def test_every_family_has_a_row() -> None:
    assert {cells[0].strip("`") for cells in table("docs/models.md", "family")} == set(pipelines())


def test_every_scheduler_has_a_row_with_its_class() -> None:
    rows = {name.strip("`"): text for name, text in table("docs/models.md", "name")}
    assert set(rows) == set(SCHEDULERS)
    for name, (class_name, _) in (DIFFUSION | FLOW).items():
        assert class_name in rows[name] or rows[name].startswith("the same")


def test_every_public_name_has_a_place() -> None:
    assert all(name in PAGES["docs/python.md"] for name in render.__all__)


def test_words_of_the_glossary_stand_there_once() -> None:
    words = [cells[0] for cells in table("docs/glossary.md", "word")]
    assert len(words) == len(set(words))
    assert links("docs/architecture.md")[0][1] == "glossary.md"
