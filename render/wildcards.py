"""One prompt template → its prompts, by the grammar and the samplers of `dynamicprompts`.

What the library lets pass is refused here: a wildcard without a file, an empty one, an odd byte in it, a weight in it.
Its comments are plain text here (`photo #1`, `a // b`), and so are a lone % and $, which it does not take at all.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from random import Random
from typing import Literal

from dynamicprompts.commands import Command, SequenceCommand, VariantCommand, WildcardCommand, WrapCommand
from dynamicprompts.commands.variable_commands import VariableAccessCommand, VariableAssignmentCommand
from dynamicprompts.enums import SamplingMethod
from dynamicprompts.parser.parse import parse
from dynamicprompts.samplers import CombinatorialSampler, CyclicalSampler, RandomSampler
from dynamicprompts.sampling_context import SamplingContext
from dynamicprompts.wildcards import WildcardManager
from dynamicprompts.wildcards.values import WildcardValues

from render.table import show

__all__ = ["MODES", "Mode", "TemplateError", "Wildcards", "draw", "parse_template"]

Mode = Literal["random", "combinatorial"]

MODES: dict[Mode, SamplingMethod] = {"random": SamplingMethod.RANDOM, "combinatorial": SamplingMethod.COMBINATORIAL}
SIGNS = {SamplingMethod.COMBINATORIAL: "!", SamplingMethod.RANDOM: "~", SamplingMethod.CYCLICAL: "@"}
PLAIN = {"#": "\ue000", "%": "\ue001", "$": "\ue002", "/": "\ue003"}  # stand-ins while the library has the text
LONE = re.compile(r"#|%(?!\{)|(?<!\$)\$(?![${])|/(?=[/*])")  # where these signs are not the grammar's
HIDE = str.maketrans(PLAIN)
SHOW = str.maketrans({stand_in: sign for sign, stand_in in PLAIN.items()})
GRAMMAR = re.compile(r"[{}$]|__")
WEIGHT = re.compile(r"\s*[0-9.]+\s*::")


class TemplateError(ValueError):
    """Why a template has no prompts: what was required, what was got."""

    def __init__(self, required: str, got: str) -> None:
        super().__init__(f"required {required}; got {got}")
        self.required = required
        self.got = got


class Wildcards(WildcardManager):
    """The text files of a folder, one value a line; blank lines and lines that begin with # are none."""

    def __init__(self, folder: Path | None) -> None:
        super().__init__()
        self.folder = folder
        paths = sorted(folder.rglob("*.txt")) if folder else []
        self._paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in paths if folder}
        self._found: dict[str, WildcardValues] = {}
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
            self._found[wildcard] = WildcardValues.from_items(sorted(values))
        return self._found[wildcard]

    def check(self, command: Command, mode: Mode) -> None:
        """Raises TemplateError for what a draw may or may not come across: in options, variables and wildcards."""
        for part in _parts(command):
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
                for value in self.get_values(wildcard).string_values:
                    if GRAMMAR.search(value):
                        self.check(_parse(value, f"wildcard {show(wildcard)}: "), mode)
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


def parse_template(template: str) -> Command:
    """The template's tree. Raises TemplateError where it is none.

    >>> parse_template("{red|blue} car for $5").tokens[1].literal.translate(SHOW)
    ' car for $5'
    """
    if any(stand_in in template for stand_in in PLAIN.values()):
        raise TemplateError("text without the private characters U+E000 … U+E003", show(template))
    return _parse(_hide(template), "")


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
        raise TemplateError("a template that can be expanded", _tell(error)) from error


def _results(context: SamplingContext, command: Command, mode: Mode) -> Iterator[object]:
    if mode == "combinatorial":
        yield from context.sample_prompts(command)
    while mode == "random":  # a generator each: in one, `${color=!{red|blue}}` would be drawn once for all prompts
        yield next(iter(context.sample_prompts(command, 1)))


def _parse(text: str, where: str) -> Command:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of pyparsing 3.3 and later, to the library
        try:
            return parse(text)
        except RecursionError:
            raise TemplateError("braces in braces, not this deep", show(text.translate(SHOW))) from None
        except Exception as error:  # pyparsing's and others'
            required = "a template whose braces, wildcards and variables are whole"
            raise TemplateError(required, f"{where}{show(text.translate(SHOW))}: {_tell(error)}") from None


def _tell(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".translate(SHOW)


def _hide(text: str) -> str:
    return LONE.sub(lambda found: found[0].translate(HIDE), text)


def _read_lines(path: Path) -> Iterator[str]:
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise TemplateError(f"a text file in UTF-8, {path}", str(error)) from None
    for number, line in enumerate(lines, 1):
        if WEIGHT.match(line):
            raise TemplateError(
                f"no weight in a wildcard file, but in braces: {{2::a|b}} ({path}, line {number})", show(line)
            )
        if any(stand_in in line for stand_in in PLAIN.values()):
            required = f"text without the private characters U+E000 … U+E003 ({path}, line {number})"
            raise TemplateError(required, show(line))
        if line.strip() and not line.lstrip().startswith("#"):
            yield _hide(line.strip())


def _parts(command: Command) -> Iterator[Command]:
    """The command and all below it."""
    yield command
    below: list[Command | str | None] = []
    if isinstance(command, SequenceCommand):
        below += command.tokens
    elif isinstance(command, VariantCommand):
        below += command.values
    elif isinstance(command, WildcardCommand):
        below += [command.wildcard, *command.variables.values()]
    elif isinstance(command, VariableAssignmentCommand):
        below += [command.value]
    elif isinstance(command, VariableAccessCommand):
        below += [command.default]
    elif isinstance(command, WrapCommand):
        below += [command.wrapper, command.inner]
    for part in below:
        if isinstance(part, Command):
            yield from _parts(part)
