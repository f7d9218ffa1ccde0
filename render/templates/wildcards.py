"""Draw the prompts of one template, by the samplers of `dynamicprompts` and the wildcard files of a folder.

Refused here, accepted by the library: a wildcard without a file, and files that are empty, not UTF-8 or hold weights.
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

from render.manifest import show
from render.templates.grammar import SHOW, STAND_INS, TemplateError, describe, hide, parse, parts
from render.templates.lines import is_entry, read_lines

__all__ = ["MODES", "Mode", "Wildcards", "draw"]

Mode = Literal["random", "combinatorial"]

MODES: dict[Mode, SamplingMethod] = {"random": SamplingMethod.RANDOM, "combinatorial": SamplingMethod.COMBINATORIAL}
SIGNS = {SamplingMethod.COMBINATORIAL: "!", SamplingMethod.RANDOM: "~", SamplingMethod.CYCLICAL: "@"}
GRAMMAR = re.compile(r"[{}$]|__")
WEIGHT = re.compile(r"\s*[+-]?[0-9.,/%]+\s*::")


class Wildcards(WildcardManager):
    """Wildcard files of a folder, one value a line; blank lines and lines that begin with # are skipped."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder
        paths = sorted(folder.rglob("*.txt")) if folder else []
        self._paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths if folder}
        self._found: dict[str, WildcardValues] = {}
        self._commands: dict[str, list[Command]] = {}  # name → its values that are not plain text, parsed
        self._faults: dict[tuple[str, str], TemplateError | None] = {}  # (name, mode) of checked wildcards → error

    def get_values(self, wildcard: str) -> WildcardValues:
        """Return the distinct values of `animals`, `places/town` or `places/*`, sorted. Raises TemplateError for none."""
        wildcard = wildcard.strip().translate(SHOW)
        if wildcard not in self._found:
            paths = [path for name, path in self._paths.items() if fnmatchcase(name, wildcard)]
            if not paths:
                where = f"in {self.folder}" if self.folder else "and a folder of wildcard files (none is set)"
                raise TemplateError(f"a file {wildcard}.txt {where}", f"none for the wildcard {show(wildcard)}")
            values = {value for path in paths for value in _read_values(path)}
            if not values:
                raise TemplateError(f"at least one value in {', '.join(map(str, paths))}", "none")
            where = f"wildcard {show(wildcard)}: "
            self._commands[wildcard] = [parse(value, where) for value in sorted(values) if GRAMMAR.search(value)]
            self._found[wildcard] = WildcardValues.from_items(sorted(values))
        return self._found[wildcard]

    def check(self, command: Command, mode: Mode) -> None:
        """Raise TemplateError for anything that a draw could fail on, in all options, variables and wildcards."""
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
            self._faults[wildcard, mode] = None  # first, as a wildcard may refer to itself
            try:
                self.get_values(wildcard)
                for value in self._commands[wildcard.strip().translate(SHOW)]:
                    self.check(value, mode)
            except TemplateError as fault:
                self._faults[wildcard, mode] = fault
        if found := self._faults[wildcard, mode]:
            raise TemplateError(found.required, found.got)


class _Sampler(RandomSampler):
    """Random sampler that removes a chosen option with its own weight; the library removes the first equal weight."""

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
    """Yield the prompts, in random mode without an end; runs of white space become one space. Raises TemplateError."""
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
    except Exception as error:  # the library raises many kinds, as KeyError for an unknown variable
        raise TemplateError("a template that can be expanded", describe(error)) from error


def _results(context: SamplingContext, command: Command, mode: Mode) -> Iterator[object]:
    if mode == "combinatorial":
        yield from context.sample_prompts(command)
    while mode == "random":  # one generator would draw `${color=!{red|blue}}` once for all prompts
        yield next(iter(context.sample_prompts(command, 1)))


def _read_values(path: Path) -> Iterator[str]:
    """Yield the values in a wildcard file, their lone signs hidden. Raises TemplateError."""
    try:
        lines = read_lines(path)
    except (OSError, ValueError) as error:
        raise TemplateError(f"a text file in UTF-8, {path}", str(error)) from None
    for number, line in enumerate(lines, 1):
        if WEIGHT.match(line):
            raise TemplateError(
                f"no weight in a wildcard file, but in braces: {{2::a|b}} ({path}, line {number})", show(line)
            )
        if any(stand_in in line for stand_in in STAND_INS):
            required = f"text without the private characters U+E000 … U+E003 ({path}, line {number})"
            raise TemplateError(required, show(line))
        if is_entry(line):
            yield hide(line.strip())
