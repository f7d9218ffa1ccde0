"""The address of a page: what it means, that it comes back, and that no text of it is SQL."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st
from looking import STILLS, WALK, Looked, looking, paint_store

from render.view.browse import frames_of, number_of, piles_of, table_of
from render.view.filters import OPERATORS, SHAPES, Filter, State


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Looked]:
    with looking(paint_store(tmp_path_factory.mktemp("filters"), WALK + STILLS)) as found:
        yield found


def state(query: str) -> State:
    return State.from_query(parse_qsl(query, keep_blank_values=True))


TABLE = [  # query, the same in SQL
    ("", "true"),
    ("q=APPLE", "prompt ILIKE '%apple%'"),
    ("q=%25", "false"),
    ("c=thing&o=is&v=rocket", "thing = 'rocket'"),
    ("c=thing&o=not&v=rocket", "thing != 'rocket'"),
    ("c=thing&o=has&v=A", "contains(thing, 'a')"),
    ("c=thing&o=lacks&v=a", "NOT contains(thing, 'a')"),
    ("c=thing&o=is&v=", "false"),
    ("c=seed&o=min&v=3&c=seed&o=below&v=7", "seed IN (3, 4)"),
    ("c=seed&o=max&v=0", "seed = 0"),
    ("c=seed&o=is&v=18446744073709551615", "false"),
    ("c=seed&o=is&v=99999999999999999999999", "false"),
    ("c=seed&o=max&v=1e300", "true"),
    ("c=seed&o=min&v=-1", "true"),
    ("c=weight&o=min&v=1.25", "weight >= 1.25"),
    ("c=blank&o=is&v=yes", "blank"),
    ("c=blank&o=is&v=false", "NOT blank"),
    ("c=timestamp&o=min&v=2000-01-01", "true"),
    ("c=timestamp&o=below&v=2000-01-01T00:00:00%2B02:00", "false"),
    ("c=mark&o=empty&v=", "true"),
    ("c=mark&o=set&v=", "false"),
    ("c=rating&o=min&v=3", "false"),
    ("c=&o=is&v=x", "true"),
]


@pytest.mark.parametrize(("query", "sql"), TABLE)
def test_filters_are_what_sql_says(looked: Looked, query: str, sql: str) -> None:
    rows = frames_of(looked.viewer, state(query), 0, 1000)
    assert [row["key"] for row in rows] == looked.keys(sql)
    assert number_of(looked.viewer, state(query).condition(looked.viewer.catalog.columns)) == len(rows)


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        ("c=nothing&o=is&v=1", "nothing: required a column"),
        ("c=seed&o=like&v=1", "required one of the operators is, not, min"),
        ("c=seed&o=has&v=1", "required one of the operators is, not, min"),
        ("c=seed&o=is&v=abc", "seed: required a number, got 'abc'"),
        ("c=seed&o=is&v=nan", "seed: required a number"),
        ("c=blank&o=is&v=maybe", "blank: required true or false"),
        ("c=timestamp&o=min&v=yesterday", "timestamp: required a time"),
        ("c=seed&o=is", "required a column, an operator and a value each"),
        ("s=nothing", "nothing: required a column"),
        ("view=wall", "view: required one of grid, stacks, table"),
        ("&".join(["c=seed&o=is&v=1"] * 30), "at most 20"),
    ],
)
def test_what_can_not_be_used_is_said_and_shows_nothing(looked: Looked, query: str, problem: str) -> None:
    assert problem in " ".join(state(query).condition(looked.viewer.catalog.columns).problems)
    assert frames_of(looked.viewer, state(query), 0) == []
    assert 'role="alert"' in looked.get(f"/images?{query}")


@pytest.mark.parametrize("descending", ["", "&d=1"])
@pytest.mark.parametrize("column", ["seed", "thing", "weight", "prompt", "timestamp", "blank", "mark"])
def test_every_column_sorts(looked: Looked, column: str, descending: str) -> None:
    rows = frames_of(looked.viewer, state(f"s={column}{descending}"), 0, 1000)
    way = "DESC" if descending else "ASC"
    assert [row["key"] for row in rows] == looked.keys(order=f"{column} {way} NULLS LAST, shard, row")


def test_pages_follow_each_other(looked: Looked) -> None:
    whole = [row["key"] for row in frames_of(looked.viewer, state("s=seed"), 0, 1000)]
    parts = [row["key"] for first in range(0, 30, 7) for row in frames_of(looked.viewer, state("s=seed"), first, 7)]
    assert parts == whole


TEXTS = st.text(max_size=12) | st.sampled_from(
    ["'", '"', "'); DROP TABLE stored; --", "\\", "%", "?", "$1", "\0", "--"]
)
STATES = st.builds(
    State,
    filters=st.lists(
        st.builds(
            Filter,
            st.sampled_from(["prompt", "thing", "seed", "blank", "weight", "timestamp"]) | TEXTS,
            st.sampled_from([*OPERATORS]) | TEXTS,
            TEXTS | st.integers().map(str),
        ).filter(lambda one: bool(one.column)),
        max_size=3,
    ).map(tuple),
    search=TEXTS.map(str.strip),
    sort=st.sampled_from(["", "seed", "thing"]) | TEXTS,
    descending=st.booleans(),
    shape=st.sampled_from(SHAPES),
    across=st.sampled_from(["", "thing", "weight"]) | TEXTS,
    down=st.sampled_from(["", "seed"]) | TEXTS,
)


@given(STATES)
def test_no_address_is_sql(looked: Looked, shown: State) -> None:
    """Whatever stands in it, DuckDB understands the question, and the table is as it was."""
    frames_of(looked.viewer, shown, 0)
    piles_of(looked.viewer, shown, 0)
    table_of(looked.viewer, shown)
    assert len(looked.viewer.catalog) == 26


@given(STATES)
def test_an_address_comes_back(shown: State) -> None:
    assert state(shown.query()) == shown


def test_piles_have_the_seeds_of_a_prompt(looked: Looked) -> None:
    piles = piles_of(looked.viewer, state("view=stacks"), 0)
    assert {pile.prompt: pile.count for pile in piles} == {
        "3d dog face": 11,
        "3d cat face": 4,
        "3d fox face": 1,
        "3d red apple": 5,
        "3d rocket": 5,
    }
    apple = next(pile for pile in piles if pile.prompt == "3d red apple")
    assert [row["seed"] for row in apple.frames] == [0, 1, 2, 3]
    (most, *_) = piles_of(looked.viewer, state("view=stacks&s=weight&d=1&c=thing&o=not&v=dog face"), 0)
    assert most.prompt == "3d rocket"


def test_two_columns_are_the_axes_of_a_table(looked: Looked) -> None:
    table = table_of(looked.viewer, state("view=table&x=seed&y=thing&c=walk&o=not&v=dog-to-cat"))
    assert [axis.label for axis in table.across] == ["0", "1", "2", "3", "4"]
    assert [axis.label for axis in table.down] == ["dog face", "red apple", "rocket"]
    assert len(table.cells) == 15
    for (across, down), cell in table.cells.items():
        assert cell.count == 1
        assert cell.frame["seed"] == across
        assert cell.frame["prompt"] == f"3d {table.down[down].label}"


def test_an_axis_of_many_numbers_is_cut_into_stretches(looked: Looked) -> None:
    table = table_of(looked.viewer, state("view=table&x=weight&y=thing"))
    assert len(table.across) <= 16
    shown = state("view=table&x=weight&y=thing")
    for (across, down), cell in table.cells.items():
        own = shown.also(*table.across[across].filters, *table.down[down].filters)
        rows = frames_of(looked.viewer, own, 0, 1000)
        assert len(rows) == cell.count
        assert rows[0]["key"] == cell.frame["key"]
    assert sum(cell.count for cell in table.cells.values()) == 26
