"""Write docs/python.md, the page of the public API, from signatures, docstrings and the comments of fields.

python tests/documents/python_api.py
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import render

__all__ = ["PAGE", "python_page"]

PAGE = Path(__file__).parents[2] / "docs" / "python.md"
HEAD = """\
# Python

<!-- Made by `python tests/documents/python_api.py` from the docstrings: change them, not this page. -->

The names of `render.__all__` are the public API; everything else may change. Each is loaded at its first use, so
`import render` takes no time.

```python
import render

prepared = render.plan_job("manifests/first.csv", "sampling.steps=10")
prepared.counts.frames, prepared.warnings
summary = render.run_job("manifests/first.csv", "sampling.steps=10", "output=out/quick")
store = render.open_store(summary.out)
for frame in store.frames("dog-to-cat")[:3]:
    frame.row["key"], frame.image().size
assert not render.verify_store(summary.out).problems
```
"""
OPERATORS = {
    "__len__": "`len()`",
    "__contains__": "`in`",
    "__getitem__": "`[index]` and slices",
    "__iter__": "iteration",
}


def python_page() -> str:
    """Return the page as it should be: functions, then values, then errors."""
    named = {name: getattr(render, name) for name in render.__all__}
    errors = {name: one for name, one in named.items() if isinstance(one, type) and issubclass(one, Exception)}
    values = {name: one for name, one in named.items() if isinstance(one, type) and name not in errors}
    functions = {name: one for name, one in named.items() if name not in values | errors}
    parts = [HEAD, "## Functions\n", *map(_function, functions.values())]
    parts += ["## Values\n", *map(_class, values.values())]
    parts += ["## Errors\n", "| error | is a | when |\n|---|---|---|", *map(_error, errors.values())]
    return "\n".join(parts) + "\n"


def _tree(one: Any) -> Any:
    """The definition of a function or class, with the lines of its source that `_comment` reads."""
    return ast.parse(textwrap.dedent(inspect.getsource(one))).body[0]


def _function(one: Any) -> str:
    return f"### {one.__name__}\n\n```python\n{_signature(_tree(one))}\n```\n\n{_text(one.__doc__)}\n"


def _signature(node: ast.FunctionDef) -> str:
    """The `def` line, an argument a line where it would be too long."""
    returned = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"def {node.name}({_arguments(node)}){returned}: ..."
    if len(line) <= 100:
        return line
    arguments = re.split(r", (?=\*{0,2}\w+(?:[:=]|$))", _arguments(node))
    return "\n".join([f"def {node.name}(", *(f"    {argument}," for argument in arguments), f"){returned}: ..."])


def _arguments(node: ast.FunctionDef) -> str:
    return re.sub(r"(?<=[\w\]])=(?=\S)", " = ", ast.unparse(node.args))  # unparse leaves no spaces behind annotations


def _class(one: type) -> str:
    inner = [
        base
        for base in one.__mro__[1:]
        if base.__module__.startswith("render.") and base.__name__ not in render.__all__
    ]
    bases = [ast.unparse(base) for base in _tree(inner[0] if inner else one).bases]
    title = f"### {one.__name__}\n\n{_text(one.__doc__ or '')}\n"
    kind = [f"A {bases[0]}.\n"] if bases else []
    sources = ((_tree(each), textwrap.dedent(inspect.getsource(each)).splitlines()) for each in (one, *inner))
    members = "\n".join(line for node, lines in sources for line in _members(node, lines))
    return "\n".join([title, *kind, f"{members}\n"])


def _members(node: ast.ClassDef, lines: list[str]) -> Iterator[str]:
    """A line for every field, property and method that is public."""
    for part in node.body:
        if isinstance(part, ast.AnnAssign) and not part.target.id.startswith("_"):  # type: ignore[union-attr]
            comment = lines[(part.end_lineno or 0) - 1][part.end_col_offset or 0 :].partition("# ")[2]
            yield _item(f"{ast.unparse(part)}", comment)
        elif isinstance(part, ast.FunctionDef) and not part.name.startswith("_"):
            yield _item(_member_signature(part), ast.get_docstring(part) or "")
    operators = [text for name, text in OPERATORS.items() if any(getattr(p, "name", "") == name for p in node.body)]
    if operators:
        yield f"- {', '.join(operators)}"


def _member_signature(part: ast.FunctionDef) -> str:
    decorators = {ast.unparse(decorator) for decorator in part.decorator_list}
    returned = ast.unparse(part.returns) if part.returns else "None"
    if decorators & {"property", "cached_property"}:
        return f"{part.name}: {returned}"
    arguments = re.sub(r"^(self|cls)(, )?", "", _arguments(part))
    return f"{part.name}({arguments}) -> {returned}"


def _item(code: str, text: str) -> str:
    return f"- `{code}`" + (f": {' '.join(text.split())}" if text else "")


def _error(one: type[Exception]) -> str:
    return f"| `{one.__name__}` | `{one.__bases__[0].__name__}` | {' '.join((one.__doc__ or '').split())} |"


def _text(docstring: str) -> str:
    """A docstring as Markdown: its doctests become a block of code."""
    paragraphs = re.split(r"\n\s*\n", inspect.cleandoc(docstring))
    return "\n\n".join(f"```pycon\n{text}\n```" if text.startswith(">>>") else text for text in paragraphs)


if __name__ == "__main__":
    PAGE.write_text(python_page(), encoding="utf-8")
    print(f"wrote {PAGE}")
