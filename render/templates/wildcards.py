"""One prompt template → its prompts, by the samplers of `dynamicprompts` and the wildcard files of a folder.

What the library lets pass is refused here: a wildcard without a file, an empty one, an odd byte in it, a weight in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Literal

from dynamicprompts.commands import Command, WildcardCommand
from dynamicprompts.commands.variable_commands import VariableAssignmentCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.samplers import CombinatorialSampler, CyclicalSampler, RandomSampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.values import WildcardValues

from render.core import special_kind
from render.manifest import show
from render.templates.grammar import SHOW, STAND_INS, TemplateError, hide, parse, parts, tell

__all__ = ["MODES", "Mode", "Wildcards", "draw"]

Mode = Literal["random", "combinatorial"]

MODES: dict[Mode, SamplingMethod] = {"random": SamplingMethod.RANDOM, "combinatorial": SamplingMethod.COMBINATORIAL}
SIGNS = {SamplingMethod.COMBINATORIAL: "!", SamplingMethod.RANDOM: "~", SamplingMethod.CYCLICAL: "@"}
GRAMMAR = re.compile(r"[{}$]|__")
WEIGHT = re.compile(r"\s*[+-]?[0-9.,/%]+\s*::")


class Wildcards(WildcardManager):
    """The text files of a folder, one value a line; blank lines and lines that begin with # are none."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder
        paths = sorted(folder.rglob("*.txt")) if folder else []
        self._paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths if folder}
        self._found: dict[str, WildcardValues] = {}
        self._commands: dict[str, list[Command]] = {}  # of those of its values that are not plain text
        self._faults: dict[tuple[str, str], TemplateError | None] = {}  # of wildcards checked, by name and mode

    def get_values(self, wildcard: str) -> WildcardValues:
        """The distinct values of `animals`, `places/town` or `places/*`, sorted. Raises TemplateError for none."""
        wildcard = wildcard.strip().translate(SHOW)
        if wildcard not in self._found:
            paths = [path for name, path in self._paths.items() if fnmatchcase(name, wildcard)]
            if not paths:
                where = f"in {self.folder}" if self.folder else "and a folder of wildcard files (none is set)"
                raise TemplateError(f"a file {wildcard}.txt {where}", f"none for the wildcard {show(wildcard)}")
            values = {value for path in paths for value in _read_lines(path)}
            if not values:
                raise TemplateError(f"at least one value in {', '.join(map(str, paths))}", "none")
            where = f"wildcard {show(wildcard)}: "
            self._commands[wildcard] = [parse(value, where) for value in sorted(values) if GRAMMAR.search(value)]
            self._found[wildcard] = WildcardValues.from_items(sorted(values))
        return self._found[wildcard]

    def check(self, command: Command, mode: Mode) -> None:
        """Raises TemplateError for what a draw may or may not come across: in options, variables and wildcards."""
        for part in parts(command):
            if part.sampling_method not in (None, MODES[mode]):
                sign = SIGNS[part.sampling_method]
                raise TemplateError(f"no {sign} behind the brace or the underscores in {mode} mode", "one")
            if mode == "combinatorial" and isinstance(part, VariableAssignmentCommand) and part.immediate:
                required = (
                    "no variable that is drawn once in combinatorial mode (its first value would be the only one)"
                )
                raise TemplateError(required, f"${{{part.name}=!…}}")
            if isinstance(part, WildcardCommand) and isinstance(part.wildcard, str):
                self._check_wildcard(part.wildcard, mode)
            elif isinstance(part, WildcardCommand) and mode == "combinatorial":
                required = (
                    "no wildcard whose name is drawn in combinatorial mode (its first name would be the only one)"
                )
                raise TemplateError(required, "one")

    def _check_wildcard(self, wildcard: str, mode: Mode) -> None:
        if (wildcard, mode) not in self._faults:
            self._faults[wildcard, mode] = None  # a wildcard may lead back to itself
            try:
                self.get_values(wildcard)
                for value in self._commands[wildcard.strip().translate(SHOW)]:
                    self.check(value, mode)
            except TemplateError as fault:
                self._faults[wildcard, mode] = fault
        if found := self._faults[wildcard, mode]:
            raise TemplateError(found.required, found.got)


class _Sampler(RandomSampler):
    """The library's takes away the first weight that equals the chosen option's, not that option's own."""

    def _get_variant_choices(
        self, values: list[Command], weights: list[float], num_choices: int, rand: Random
    ) -> list[Command]:
        left = list(range(len(values)))
        chosen = []
        for _ in range(num_choices):
            index = rand.choices(range(len(left)), [weights[position] for position in left])[0]
            chosen.append(values[left.pop(index)])
        return chosen


def draw(command: Command, wildcards: Wildcards, mode: Mode, rand: Random) -> Iterator[str]:
    """The prompts, in random mode without an end, in single spaces. Raises TemplateError for one that fails."""
    samplers = {
        SamplingMethod.RANDOM: _Sampler(),
        SamplingMethod.COMBINATORIAL: CombinatorialSampler(),
        SamplingMethod.CYCLICAL: CyclicalSampler(),
    }
    context = SamplingContext(MODES[mode], wildcards, samplers, rand=rand)
    try:
        for result in _results(context, command, mode):
            prompt = " ".join(str(result).split()).translate(SHOW)
            if not prompt:
                raise TemplateError("prompts that are not empty", "one that is")
            yield prompt
    except TemplateError:
        raise
    except RecursionError:
        raise TemplateError("variables and wildcards that come to an end", "a circle of them") from None
    except Exception as error:  # the library's own, of many kinds: KeyError for an unknown variable
        raise TemplateError("a template that can be expanded", tell(error)) from error


def _results(context: SamplingContext, command: Command, mode: Mode) -> Iterator[object]:
    if mode == "combinatorial":
        yield from context.sample_prompts(command)
    while mode == "random":  # a generator each: in one, `${color=!{red|blue}}` would be drawn once for all prompts
        yield next(iter(context.sample_prompts(command, 1)))


def _read_lines(path: Path) -> Iterator[str]:
    if kind := special_kind(path):
        raise TemplateError(f"a text file in UTF-8, {path}", kind)
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"a text file in UTF-8, {path}", str(error)) from None
    for number, line in enumerate(lines, 1):
        if WEIGHT.match(line):
            raise TemplateError(
                f"no weight in a wildcard file, but in braces: {{2::a|b}} ({path}, line {number})", show(line)
            )
        if any(stand_in in line for stand_in in STAND_INS):
            required = f"text without the private characters U+E000 … U+E003 ({path}, line {number})"
            raise TemplateError(required, show(line))
        if line.strip() and not line.lstrip().startswith("#"):
            yield hide(line.strip())
