"""Write a dataset card: the README.md of an output folder or an export, with the YAML header that the Hub reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

import yaml

from render.models import ModelTerms

__all__ = ["Card", "CardColumn", "CardModel", "Histogram", "card_text", "code", "plain"]

MARKUP = re.compile(r"[\\`*\[\]|!~#$:@]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")  # `:` and `@`: links
UNKNOWN = "not recorded"
SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))
BAR = 30  # signs of a histogram's longest bar


@dataclass(frozen=True, slots=True)
class CardColumn:
    """One column of a dataset."""

    name: str
    type: str
    meaning: str = ""  # Markdown
    counts: tuple[tuple[str, int], ...] = ()  # of a label: its most frequent values
    values: int = 0  # of a label: how many different ones there are


@dataclass(frozen=True, slots=True)
class CardModel:
    """One model that drew pictures of a dataset."""

    name: str
    revision: str
    fingerprint: str
    terms: ModelTerms


@dataclass(frozen=True, slots=True)
class Histogram:
    """The distribution of a score: frames in each of several equal ranges."""

    name: str
    low: float
    high: float
    frames: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """The facts that a card tells."""

    name: str
    intro: str  # Markdown
    frames: int
    files: tuple[tuple[str, str], ...]  # (split, pattern of its files below the card's folder), that `datasets` reads
    opening: tuple[tuple[str, str], ...]  # (language, code) of how to open it
    columns: tuple[CardColumn, ...]
    models: tuple[CardModel, ...] = ()
    labels: tuple[CardColumn, ...] = ()
    recipes: tuple[tuple[str, tuple[tuple[str, int], ...]], ...] = ()  # (setting, (value, frames)…)
    scores: tuple[Histogram, ...] = ()
    splits: tuple[tuple[str, int], ...] = ()  # (split, frames)
    license: str = ""
    languages: tuple[str, ...] = ()
    samples: str = ""  # name of a picture of some frames, beside the card
    notes: tuple[str, ...] = field(default=())  # Markdown


def card_text(card: Card) -> str:
    """Return the card as Markdown; no text of a manifest or a file's name is markup in it."""
    parts = [f"---\n{_header(card)}---\n# {plain(card.name)}", card.intro]
    parts += [f"![Some of the images]({card.samples})"] if card.samples else []
    parts += ["\n".join(f"```{language}\n{text}\n```" for language, text in card.opening)]
    parts += _section("Splits", _table(("split", "images"), [(code(name), f"{n:,}") for name, n in card.splits]))
    columns = [(code(one.name), plain(one.type), one.meaning) for one in card.columns]
    parts += _section("Columns", _table(("column", "type", "meaning"), columns))
    parts += _section("Labels", _labels(card.labels))
    parts += _section("Models", _models(card.models))
    recipes = [(name, ", ".join(f"{plain(value)} ({n:,})" for value, n in counts)) for name, counts in card.recipes]
    parts += _section("Recipes", _table(("setting", "values, with their images"), recipes))
    parts += _section("Scores", "\n\n".join(map(_histogram, card.scores)))
    parts += card.notes
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(card: Card) -> str:
    header: dict[str, object] = {
        "license": card.license,
        "language": list(card.languages),
        "pretty_name": card.name if plain(card.name) == card.name else "",  # some show it as Markdown
        "size_categories": [next((name for most, name in SIZES if card.frames < most), "n>10M")],
        "task_categories": ["text-to-image", *(["image-classification"] if card.labels else [])],
        "tags": ["synthetic", "nightrender"],
    }
    data_files = [{"split": split, "path": path} for split, path in card.files]
    header |= {"configs": [{"config_name": "default", "data_files": data_files}]} if data_files else {}
    return yaml.safe_dump({name: value for name, value in header.items() if value}, sort_keys=False, allow_unicode=True)


def _section(title: str, body: str) -> list[str]:
    return [f"## {title}", body] if body else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)]
    return "\n".join(lines).replace(" --- ", "---") if rows else ""


def _labels(labels: Sequence[CardColumn]) -> str:
    """Return a table of labels: their values with the numbers of images, or how many values there are."""
    rows = []
    for label in labels:
        told = ", ".join(f"{plain(value)} ({frames:,})" for value, frames in label.counts)
        more = label.values - len(label.counts)
        rows.append((code(label.name), plain(label.type), f"{told}{f' and {more:,} more' if more and told else ''}"))
    return _table(("label", "type", "values, with their images"), rows)


def _models(models: Sequence[CardModel]) -> str:
    rows = []
    for model in models:
        name = code(model.name) + (f" at {code(model.revision)}" if model.revision else "")
        name += f", fingerprint {code(model.fingerprint)}" if model.fingerprint else ""
        link = f", {plain(model.terms.link)}" if model.terms.link else ""
        rows.append((name, (plain(model.terms.licence) or UNKNOWN) + link, plain(model.terms.outputs) or UNKNOWN))
    return _table(("model", "licence", "what it says of pictures that it makes"), rows)


def _histogram(one: Histogram) -> str:
    """Return a histogram as lines of text: a range, a bar, a number of images."""
    width, most = (one.high - one.low) / len(one.frames), max(one.frames)
    lines = []
    for n, frames in enumerate(one.frames):
        ends = f"{one.low + n * width:>12.4g} … {one.low + (n + 1) * width:<12.4g}"
        lines.append(f"{ends}{'█' * round(BAR * frames / most):<{BAR}} {frames:,}")
    return "\n".join([code(one.name), "```text", *lines, "```"])


def plain(text: str) -> str:
    r"""Return a text as Markdown shows it, none of whose signs is markup; on one line.

    >>> print(plain("cats_1 <b>*new*</b>.csv"))
    cats_1 &lt;b&gt;\*new\*&lt;/b&gt;.csv
    """
    joined = " ".join(text.split())
    return MARKUP.sub(r"\\\g<0>", joined).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def code(text: str) -> str:
    """Return a text as code within a line of a table, whose end its own backticks and bars can't be."""
    return f"`{' '.join(text.split()).replace('`', chr(39)).replace('|', '¦')}`"
