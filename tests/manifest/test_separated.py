"""CSV and TSV: which sign separates the columns, how quotes, encodings and gzip are read, and what is doubtful.

The reference is the table that was written, by Python's own writer or by pandas.
"""

from __future__ import annotations

import codecs
import csv as csv_module
import gzip
import io
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifest_tables import DEFAULTS, MODELS, csv, error, keyframes

from render.core.errors import ManifestError
from render.manifest.names import Naming
from render.manifest.read import read_manifest

pytest_plugins = ["manifest_tables"]

SEPARATORS = [",", ";", "\t"]


def written(table: list[list[str]], separator: str, quoting: int = csv_module.QUOTE_MINIMAL) -> str:
    text = io.StringIO()
    csv_module.writer(text, delimiter=separator, quoting=quoting, lineterminator="\n").writerows(table)  # type: ignore[arg-type]
    return text.getvalue()


def prompts(path: Path) -> list[tuple[str, ...]]:
    """Prompt and labels of every row."""
    manifest = read_manifest(path, DEFAULTS, MODELS)
    return [(row.prompt, *(str(value) for value in row.labels.values())) for row in keyframes(manifest)]


@pytest.mark.parametrize("ending", [".csv", ".tsv"])
@pytest.mark.parametrize("separator", SEPARATORS)
def test_the_separator_is_found_and_named(tmp_path: Path, ending: str, separator: str) -> None:
    path = tmp_path / f"m{ending}"
    table = [["prompt", "seed", "kind"], ["a; b, c\td", "7", "x"], ["e", "8", "y;z"]]
    path.write_text(written(table, separator))
    manifest = read_manifest(path, DEFAULTS, MODELS)
    assert [(row.prompt, row.seed, row.labels["kind"]) for row in keyframes(manifest)] == [
        ("a; b, c\td", 7, "x"),
        ("e", 8, "y;z"),
    ]
    assert manifest.separated_by == {",": (), ";": ("semicolons",), "\t": ("tabs",)}[separator]


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("prompt\na, b\n", None),  # one column: a comma needs quotes
        ("prompt\na; b\n", [("a; b",)]),
        ("sep=;\nprompt;kind\na, b;x\n", [("a, b", "x")]),  # Excel's hint
        ('"sep=,"\nprompt,kind\na;b,x\n', [("a;b", "x")]),
        ("prompt;kind, long\na;b\n", [("a", "b")]),  # one reading has a prompt
        ("kind, long;prompt\na, b;c\n", [("c", "a, b")]),
        ("prompt;kind, long\na,b;c,d\n", [("a,b", "c,d")]),
        ("id;prompt,seed\n", None),
        ("prompt,kind;x\na;b\n", None),  # the likely header, but the rows fit the other one
        ("prompt;a,prompt\nx;y,z\n", None),  # both have a prompt and fit
        ('prompt\tkind\n"a\tb\nc"\td\n', None),  # two rows, or one with a line end
        ('prompt\tkind\n"a" b\tc\n', [('"a" b', "c")]),
        ('prompt\tkind\n"a, b"\tc\n', [("a, b", "c")]),
        ("prompt;kind\na;b;c\n", None),
        ("prompt|kind\na|b\n", None),
        ("prompt  kind\na  b\n", None),
        ("# a comment\nprompt,kind\na,b\n", None),
        ('kind,prompt,note\n1, "a dog, wet"\n', None),  # a space in front of a quote
        ('kind, "prompt"\n1, "a dog"\n', None),
        ("kind, prompt\n1, a dog\n", [(" a dog", "1")]),
        ('kind,prompt\n"x, ""y""","a, ""dog"""\n', [('a, "dog"', 'x, "y"')]),
    ],
)
def test_readings(path: Path, text: str, rows: list[tuple[str, ...]] | None) -> None:
    path.write_text(text)
    if rows is None:
        with pytest.raises(ManifestError):
            read_manifest(path, DEFAULTS, MODELS)
    else:
        assert prompts(path) == rows


def test_doubt_shows_both_readings(path: Path) -> None:
    line = error(path, "prompt,kind;x\na;b\n")
    assert line == (
        "required one way to cut header and rows into columns (quotes around a text keep it whole); got "
        "with commas the columns ['prompt', 'kind;x']; with semicolons the columns ['prompt,kind', 'x']"
    )
    line = error(path, 'prompt\tkind\n"a\tb\nc"\td\n')
    assert "row 1 is ['a\\tb\\nc', 'd'] if quotes hold lines together, ['\"a', 'b'] if not" in line


def test_spaces_in_front_of_quotes_are_doubtful(path: Path) -> None:
    line = error(path, 'kind,prompt,note\n1, "a dog, wet"\n')
    assert line == (
        "required one way to read the quotes (they stand right behind the separator); got row 1 is ['1', 'a dog, wet'] "
        "without the spaces in front of quotes, ['1', ' \"a dog', ' wet\"'] with them"
    )
    assert "(a comment? Remove it)" in error(path, "# made by me\nprompt,seed\na,7\n")
    line = error(path, "prompt|seed\na|7\n")
    assert line == "required columns separated by commas, semicolons or tabs; got the header 'prompt|seed'"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prompt,seed\na;7\n", "1 (looks like semicolons)"),
        ("prompt,seed\na\t7\n", "1 (looks like tabs)"),
        ("prompt;seed\na,7\n", "1 (looks like commas)"),
        ("prompt,seed\na, b,7,\n", "4 (a text with commas needs quotes around it)"),
        ("prompt,seed\na,7,,\n", "4 (empty ones behind the last column: commas too many)"),
        ('prompt,kind\n"1","a","x"\n', "3 (R's row names? write.table takes row.names = FALSE"),
    ],
)
def test_rows_of_another_width_have_a_likely_reason(path: Path, text: str, reason: str) -> None:
    assert error(path, text).startswith(f"row 1: required 2 fields, as in the header; got {reason}")


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["7,5", "6"], [7.5, 6.0]),
        (["7,5", ""], [7.5, 3.0]),
        ([" ,5 ", "1e1"], [0.5, 10.0]),
        (["1,000", "2"], [1.0, 2.0]),
        (["7.5", "6"], [7.5, 6.0]),
    ],
)
def test_decimal_commas_between_semicolons(path: Path, cells: list[str], values: list[float]) -> None:
    manifest = csv(path, "prompt;guidance;score\n" + "".join(f"p;{cell};{cell.strip()}\n" for cell in cells))
    assert [row.guidance for row in keyframes(manifest)] == values
    if "" not in cells and " ,5 " not in cells:
        assert [row.labels["score"] for row in keyframes(manifest)] == values


def test_decimal_commas_that_are_doubtful(path: Path) -> None:
    """Beside points, in integers, and where commas or tabs separate: refused with the reason, never 1000 for 1,000."""
    assert "looks like a decimal comma" in error(path, "prompt;guidance\np;7,5\nq;6.0\n")
    assert "looks like thousands with commas: 1000" in error(path, "prompt;steps\np;1,000\n")
    assert "looks like a decimal comma" in error(path, 'prompt,guidance\np,"7,5"\n')
    manifest = csv(path, "prompt;tag\np;1,5\nq;red\n")
    assert [row.labels["tag"] for row in keyframes(manifest)] == ["1,5", "red"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_encodings_with_a_mark(path: Path, encoding: str) -> None:
    text = "prompt,kind\ngrößer 犬 🐕,Ä\n"
    marks = {"utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
    path.write_bytes(marks.get(encoding, b"") + text.encode(encoding))
    assert prompts(path) == [("größer 犬 🐕", "Ä")]


def test_encodings_that_are_broken_or_others(path: Path) -> None:
    assert "required whole text in UTF-16" in error(path, "prompt\na\n".encode("utf-16") + b"x")
    assert "got b'gr\\xfcn' (Windows-1252? Save it as UTF-8)" in error(path, "prompt\ngrün\n".encode("cp1252"))


@pytest.mark.parametrize("name", ["m.csv.gz", "m.tsv.gz", "M.CSV.GZ"])
def test_gzip(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress("prompt,kind\na,ü\n".encode("utf-16")))
    assert prompts(path) == [("a", "ü")]
    assert read_manifest(path, DEFAULTS, MODELS).name.casefold() == "m"


def test_gzip_that_is_none_or_broken(tmp_path: Path) -> None:
    packed = gzip.compress(b"prompt\n" + b"a dog\n" * 9999)
    for name, content, message in [
        ("m.csv.gz", b"prompt\na\n", "required a gzip archive, as its ending says; got another file"),
        ("m.csv", packed, "or a name that ends in .gz), as its ending says; got a gzip archive"),
        ("m.csv.gz", packed[:-9], "required a whole gzip archive; got "),
        ("m.csv.gz", packed[:20] + b"junk" + packed[24:], "required a whole gzip archive; got "),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ManifestError) as caught:
            read_manifest(tmp_path / name, DEFAULTS, MODELS)
        assert message in str(caught.value), name


CELLS = st.text(st.sampled_from("ab ,;\t\"'\n.ü犬=-1"), max_size=7)
ROW_TEXT = st.text(st.sampled_from("ab,;\t\"'.ü犬"), min_size=1, max_size=7).map(lambda text: f"p{text}")
NAMES = st.lists(
    st.text(st.sampled_from("xyz,;\t\"' "), min_size=1, max_size=5).filter(str.strip),
    unique_by=str.casefold,
    max_size=3,
)


@st.composite
def tables(draw: st.DrawFn) -> list[list[str]]:
    """A header with a prompt and any labels, and rows of any text."""
    labels = [name for name in draw(NAMES) if name.strip() not in ("w", "h")]
    place = draw(st.integers(0, len(labels)))
    header = [*labels[:place], "prompt", *labels[place:]]
    rows = draw(st.lists(st.tuples(ROW_TEXT, *(CELLS for _ in labels)), min_size=1, max_size=4))
    return [header, *([*cells[1 : place + 1], cells[0], *cells[place + 1 :]] for cells in rows)]


@settings(max_examples=400, deadline=None)
@given(
    tables(),
    st.sampled_from(SEPARATORS),
    st.sampled_from([csv_module.QUOTE_MINIMAL, csv_module.QUOTE_ALL]),
    st.sampled_from([".csv", ".tsv"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
)
def test_the_table_that_was_meant_or_an_error(
    table: list[list[str]], separator: str, quoting: int, ending: str, encoding: str
) -> None:
    """Never another table: whatever separators and quotes stand in names and texts."""
    header, *rows = table
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"m{ending}")
        path.write_bytes(written(table, separator, quoting).encode(encoding))
        naming = Naming(labels=tuple(name for name in header if name != "prompt"))
        try:
            manifest = read_manifest(path, DEFAULTS, MODELS, naming=naming)
        except ManifestError:
            return
    place = header.index("prompt")
    assert [row.prompt for row in keyframes(manifest)] == [row[place] for row in rows]
    for name, column in zip(header, zip(*rows, strict=True), strict=True):
        if name != "prompt":
            kept = [row.labels[name] for row in keyframes(manifest)]
            if all(value is None or isinstance(value, str) for value in kept):  # the others are typed by content
                assert kept == [cell or None for cell in column]


def test_most_tables_are_read(tmp_path: Path) -> None:
    """With pandas' and Python's usual settings, and without a separator in a name, there is no doubt."""
    data = pd.DataFrame({"prompt": ['a "b", c; d', "e\tf", "g"], "kind": ["x,y", 'z"', None], "seed": [1, 2, 3]})
    for separator in SEPARATORS:
        data.to_csv(tmp_path / "m.csv", sep=separator, index=False)
        manifest = read_manifest(tmp_path / "m.csv", DEFAULTS, MODELS)
        assert [row.prompt for row in keyframes(manifest)] == list(data.prompt)
        assert [row.labels["kind"] for row in keyframes(manifest)] == ["x,y", 'z"', None]
