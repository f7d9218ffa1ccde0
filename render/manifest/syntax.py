"""Find in prompts what other programs would not read as text: weights, brackets, LoRAs, placeholders, flags.

Arrow's regular expressions (RE2) search whole columns, so that a million rows take a second or two. What people write in
ordinary text is no finding: years and times in brackets, ratios, smileys, headlines in capitals.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from render.core import InputError, parse_weights
from render.manifest.problems import show
from render.manifest.stored import Manifest

__all__ = ["check_weights", "literal_signs"]

COLUMNS = ("prompt", "negative_prompt")
BRACKETS, OTHERS = (
    r"[(\[\\]",
    r"[{<`]|--|__|BREAK|AND|embedding:|withLora|Steps: |Negative prompt:",
)  # a first search, for either half of the kinds
INSIDE = r"[^()]*(?:\([^()]*\)[^()]*)*"  # text with brackets one deep
NUMBER = r"[+-]?[0-9]*\.[0-9]+"
NO_CAPITALS_BEFORE = r"(?:^\s*|[,.;:)\]>\n]\s*|[^A-Z\s\"'“‘(\[<-]\s+)"  # no quote, and no article A
NO_CAPITALS_BEHIND = r"(?:\s*$|\s*[,.;(\[<\n]|\s+[^A-Z\s\"'”’]|\s+[A-Z][^A-Z])"
SQUARE = r"(?:[^\[\]|:]|:\s*[^\[\]|\d\s.:])*"  # no [a:b:0.5], no [a|b]
FLAGS = (
    "prompt|neg|negative_prompt|steps|cfg_scale|seed|sampler|sampler_name|width|height|n_iter|batch_size|"
    "ar|aspect|v|version|niji|stylize|chaos|no|iw|sref|cref|q|quality|tile|n|w|h|d|l|s"
)
ESCAPED = r"\\[()\[\]\\]"
PERHAPS_HEAVY = r":\s*[+-]?(?:[0-9]*[2-9]|[0-9]{2,})[0-9.]*\s*\)|:[0-9.\s]+\)[^()]*:[0-9.\s]+\)|(?:[(\[][^()\[\]]*){9}"


@dataclass(frozen=True, slots=True)
class Sign:
    """One kind of text that other programs do not read as text."""

    what: str  # plural, for a warning
    pattern: str  # of RE2; its group `found` is what a warning shows
    advice: str
    near: str = OTHERS  # pattern that each text with this one has, too
    obeyed: bool = False  # with prompt_syntax weighted


UNKNOWN = "nightrender has nothing like them"
OBEY = "sampling.prompt_syntax=weighted obeys them, for Stable Diffusion 1.x and 2.x and SDXL"
SIGNS = (
    Sign(
        "weights",
        rf"(?P<found>\({INSIDE}(?:[^\s\d(:]\s*:\s*{NUMBER}|[^\s\d():]:[+-]?[0-9]|[\pL_][0-9.]+:\s*{NUMBER}|"
        rf"[0-9]{{3,}}:\s*{NUMBER}|\pL[^():]*\s(?:[02-9]|[0-9]{{2}}):\s*[012]?\.[0-9]+)\s*\))",
        OBEY,
        BRACKETS,
        obeyed=True,
    ),
    Sign(
        "double brackets",
        r"(?:^|[^:;=8xX(-])(?P<found>\(\s*\(+[^():]*\pL\pL[^():]*\)+\s*\))",
        OBEY,
        BRACKETS,
        obeyed=True,
    ),
    Sign(
        "square brackets",
        rf"(?:^|[^\\\pL\d])(?P<found>\[{SQUARE}(?:\pL\pL|\p{{Han}}){SQUARE}\])",
        OBEY,
        BRACKETS,
        obeyed=True,
    ),
    Sign("escaped brackets", r"(?P<found>\\\([^()\\]*\\\)|\\\[[^\[\]\\]*\\\])", OBEY, BRACKETS, obeyed=True),
    Sign(
        "changes during sampling",
        r"(?P<found>\[(?:[^\[\]|]*\pL[^\[\]|]*\||\s*\|[^\[\]]*\pL)[^\[\]]*\]|"
        rf"\[[^\[\]]*\pL[^\[\]]*:\s*{NUMBER}\s*\]|\[[^\[\]]*\pL[^\[\]]*[^\s\d]:\s*[0-9]{{1,4}}\s*\])",
        UNKNOWN,
        BRACKETS,
    ),
    Sign("parts", rf"{NO_CAPITALS_BEFORE}(?P<found>BREAK|AND){NO_CAPITALS_BEHIND}", UNKNOWN),
    Sign("LoRAs", r"(?i)(?P<found><(?:lora|lyco|hypernet)\s*:[^<>]*>|withLora\([^()]*\))", "model.loras loads them"),
    Sign("embeddings", r"(?:^|[\s,(\[])(?P<found>embedding:[^\s,():]+)", UNKNOWN),
    Sign(
        "placeholders",
        r"(?P<found>\{\s*[\pL_][\pL\d_ .]{0,40}\s*\}|\{\d*\})",
        "`render expand --styles` fills in {prompt}",
    ),
    Sign(
        "templates",
        r"(?P<found>\{[^{}]*\|[^{}]*\}|\b__[\pL\d][\pL\d_/*-]*__\b)",
        "`render expand` makes prompts of them",
    ),
    Sign("flags", rf"(?:^|\s)(?P<found>--(?:{FLAGS})(?:[\s=][^\s]*|$))", "`render expand` makes columns of them"),
    Sign("weights", r"(?P<found>\([^()]*\pL\)(?:\+{1,6}|[012]\.[0-9]+))", "write (word:1.3)", BRACKETS),
    Sign(
        "parameters",
        r"(?P<found>(?:^|\n)Negative prompt:|\bSteps: [0-9]+, (?:Sampler|CFG|Seed|Size)[^,]*)",
        "each has a column of its own",
    ),
    Sign("formulas", r"(?P<found>:\s*`[^`]*`)", UNKNOWN),
)


def literal_signs(manifest: Manifest, syntax: str) -> Iterator[str]:
    """Yield a warning for each kind of sign that is taken literally: the first row that has it, and the number of rows.

    `syntax` is one of SYNTAXES. With weighted, brackets that are not closed are reported, too: they reach to the end.
    """
    weighted = syntax == "weighted"
    searched = {near: [_Texts.of(manifest, column, near) for column in COLUMNS] for near in (BRACKETS, OTHERS)}
    for sign in SIGNS:
        if sign.obeyed and weighted:
            continue
        texts = searched[sign.near]
        if found := _where(manifest, texts, [own.find(sign.pattern) for own in texts]):
            where, text, rows = found
            example = pc.extract_regex(pa.array([text]), sign.pattern)[0]["found"].as_py()
            yield f"{where}: {sign.what} such as {show(example)} are taken literally ({rows}): {sign.advice}"
    texts = searched[BRACKETS]
    if weighted and (found := _where(manifest, texts, [own.unclosed() for own in texts])):
        where, text, rows = found
        yield f"{where}: a bracket that is not closed reaches to the end of {show(text)} ({rows}): \\( is a mere sign"


def check_weights(manifest: Manifest, file: str) -> None:
    """Raise ManifestError with the rows of every prompt with a weight that `parse_weights` refuses."""
    problems = manifest.problems(file)
    for column in COLUMNS:
        own = _Texts.of(manifest, column, BRACKETS)
        for number in np.flatnonzero(own.find(PERHAPS_HEAVY)).tolist():
            try:
                parse_weights(own.values[number].as_py())
            except InputError as error:
                required, _, got = str(error).partition("required ")[2].partition(", got ")
                for row in np.unique(own.rows[own.numbers == number]).tolist():
                    problems.add(required, got, row=row, column=column)
    problems.raise_any()


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of one column that are worth a search, equal neighbours once, and the rows that have them."""

    values: Any  # [K] text
    numbers: npt.NDArray[np.int64]  # [N] place of each row's text among the values
    rows: npt.NDArray[np.int64]  # [N] rows of the user's table; a sweep repeats them

    @classmethod
    def of(cls, manifest: Manifest, column: str, near: str) -> _Texts:
        table = manifest.select(column, "source_row")
        table = table.filter(pc.match_substring_regex(table[column], near))
        runs = pc.run_end_encode(table[column].combine_chunks())
        numbers = np.repeat(np.arange(len(runs.values)), np.diff(runs.run_ends.to_numpy(), prepend=0))
        return cls(runs.values, numbers, table["source_row"].to_numpy())

    def find(self, pattern: str) -> npt.NDArray[np.bool_]:
        """Return [K] True for each text with the pattern."""
        found: npt.NDArray[np.bool_] = pc.match_substring_regex(self.values, pattern).to_numpy(zero_copy_only=False)
        return found

    def unclosed(self) -> npt.NDArray[np.bool_]:
        """Return [K] True for each text with more brackets that open than such that close."""
        plain = pc.replace_substring_regex(self.values, ESCAPED, "")
        counts = {sign: pc.count_substring(plain, sign).to_numpy() for sign in "()[]"}
        found: npt.NDArray[np.bool_] = (counts["("] > counts[")"]) | (counts["["] > counts["]"])
        return found


def _where(manifest: Manifest, texts: list[_Texts], masks: list[npt.NDArray[np.bool_]]) -> tuple[str, str, str] | None:
    """Return (place of the first row, its text, the number of rows) of the texts that masks [K] name; None for no row."""
    rows = [own.rows[mask[own.numbers]] for own, mask in zip(texts, masks, strict=True)]
    if not any(map(len, rows)):
        return None
    seen = np.zeros(1 + max(int(own.max()) for own in rows if len(own)), np.bool_)
    for own in rows:
        seen[own] = True
    count, first = int(np.count_nonzero(seen)), int(np.argmax(seen))
    column = next(number for number, own in enumerate(rows) if first in own)
    found, mask = texts[column], masks[column]
    number = int(found.numbers[np.flatnonzero(mask[found.numbers] & (found.rows == first))[0]])
    return manifest.where(first), found.values[number].as_py(), f"{count:,} row{'s' if count > 1 else ''}"
