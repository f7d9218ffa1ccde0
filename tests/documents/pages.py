"""The pages of documentation, and what stands in them: links, snippets, command lines, tables."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["PAGES", "ROOT", "Snippet", "code_words", "command_lines", "headings", "links", "prose", "snippets", "table"]

ROOT = Path(__file__).parents[2]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/*.md"))]
}
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Snippet:
    """A fenced block of code."""

    page: str
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.text.strip().splitlines()[0]}"


def snippets(*languages: str) -> list[Snippet]:
    """Return the fenced blocks of some languages, of all pages."""
    found = [Snippet(page, *match.groups()) for page, text in PAGES.items() for match in FENCE.finditer(text)]
    return [snippet for snippet in found if snippet.language in languages]


def prose(page: str) -> str:
    """Return a page without its fenced blocks and the lines of indented ones."""
    lines = FENCE.sub("", PAGES[page]).splitlines()
    return "\n".join(line for line in lines if not line.startswith("    "))


def links(page: str) -> list[tuple[str, str]]:
    """Return (text, target) of every link and picture."""
    return LINK.findall(prose(page))


def headings(page: str) -> set[str]:
    """Return the anchors of a page, as GitHub makes them of its headings."""
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", PAGES[page]), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def code_words(page: str) -> list[str]:
    """Return what stands in backticks in the prose of a page."""
    return [" ".join(word.split()) for word in re.findall(r"`([^`]+)`", prose(page))]


def command_lines() -> Iterator[tuple[str, list[str]]]:
    """Yield (page, words) of every command in an indented block, without its comment; `a && b` is two commands."""
    for page, text in PAGES.items():
        for line in FENCE.sub("", text).splitlines():
            if re.match(r"    (pip|python|render|ray|pytest|ruff|mypy) ?", line):
                words: list[str] = []
                for word in [*shlex.split(line, comments=True), "&&"]:
                    if word == "&&":
                        yield page, words
                        words = []
                    else:
                        words.append(word)


def table(page: str, first_cell: str) -> list[list[str]]:
    """Return the cells of the rows below the header that begins with `first_cell`; an escaped | is one."""
    lines = PAGES[page].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first_cell} |")) + 2
    rows = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]])
    return rows
