"""The pages hold together: their links, pictures, paths, sizes, and the table of rooms."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import PAGES, ROOT, code_words, headings, links, prose, table
from PIL import Image
from python_api import PAGE, python_page
from test_imports import ROOMS

README_WORDS = 900
PICTURE_BYTES, PICTURES_BYTES = 150_000, 1_500_000  # one of docs/pictures, all of them
FOLDERS = ("render", "tests", "docs", "jobs", "manifests", "training", ".ci", ".github")


def test_the_readme_is_a_front_page() -> None:
    assert len(PAGES["README.md"].split()) <= README_WORDS


@pytest.mark.parametrize(
    "line", ["pip install . && render run manifests/first.csv", "pip install '.[test]' && pytest -n 2"]
)
def test_the_readme_has_the_two_commands_where_scripts_look_for_them(line: str) -> None:
    assert PAGES["README.md"].splitlines().count(f"    {line}") == 1


def test_the_readme_leads_to_every_page() -> None:
    linked = {target for _, target in links("README.md")}
    assert {page for page in PAGES if page not in {"README.md", "CHANGELOG.md"}} <= linked


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    for text, target in links(page):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), f"{page}: [{text}]({target})"
        if anchor:
            assert anchor in headings(str(file.resolve().relative_to(ROOT))), f"{page}: [{text}]({target})"


@pytest.mark.parametrize("page", PAGES)
def test_paths_of_the_repository_exist(page: str) -> None:
    for word in code_words(page):
        if re.fullmatch(rf"(?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*", word):
            assert (ROOT / word).exists(), f"{page}: {word}"


@pytest.mark.parametrize("page", PAGES)
def test_lines_are_not_too_long(page: str) -> None:
    assert [line for line in prose(page).splitlines() if len(line) > 125 and not line.startswith(("|", "- `"))] == []


def test_pictures_open_are_small_and_are_shown() -> None:
    shown = {((ROOT / page).parent / target).resolve() for page in PAGES for _, target in links(page)}
    sizes = {path: path.stat().st_size for path in (ROOT / "docs" / "pictures").iterdir()}
    assert set(sizes) <= shown
    assert max(sizes.values()) <= PICTURE_BYTES
    assert sum(sizes.values()) <= PICTURES_BYTES
    for path in [*sizes, *(path for path in (ROOT / ".github").iterdir() if path.is_file())]:
        with Image.open(path) as image:
            image.verify()
        assert path in shown


def test_pictures_have_words_for_those_who_do_not_see_them() -> None:
    for page in PAGES:
        assert all(text for text, target in links(page) if Path(target).suffix in {".gif", ".png", ".jpg"}), page


def all_of(file: Path) -> set[str]:
    """The names in `__all__` of a module, which is not imported: that would load torch and Ray."""
    body = ast.parse(file.read_text(encoding="utf-8")).body
    (value,) = [n.value for n in body if isinstance(n, ast.Assign) and ast.unparse(n.targets[0]) == "__all__"]
    return set(ast.literal_eval(value))


def test_the_table_of_rooms_is_the_house() -> None:
    rows = table("docs/architecture.md", "room")
    names = [name.strip("`/").replace("front", "") for name, *_ in rows]
    assert names == list(ROOMS)
    for name, (_, _, uses, doors) in zip(names, rows, strict=True):
        assert {room for room in uses.split(", ") if room} == ROOMS[name], name
        if name:
            assert set(re.findall(r"`(\w+)`", doors)) <= all_of(ROOT / "render" / name / "__init__.py"), name


def test_the_page_of_the_python_api_is_what_the_docstrings_say() -> None:
    wanted = python_page()
    assert PAGE.read_text(encoding="utf-8") == wanted, "run `python tests/documents/python_api.py`"
