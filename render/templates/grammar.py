"""Parse prompt templates by the grammar of `dynamicprompts`, stricter where the library would misread them.

Refused here, accepted by the library: a closing brace without an opening one, braces around a single text, a weight that
is not a number, a draw of more options than there are. Plain text here, special to the library: comments (`photo #1`,
`a // b`), a lone % or $.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator

from dynamicprompts.commands import (
    Command,
    LiteralCommand,
    SequenceCommand,
    VariantCommand,
    WildcardCommand,
    WrapCommand,
)
from dynamicprompts.commands.variable_commands import VariableAccessCommand, VariableAssignmentCommand
from dynamicprompts.commands.wrap_command import WRAP_MARKER_RE
from dynamicprompts.parser.parse import parse as parse_as_the_library

from render.manifest import show

__all__ = ["SHOW", "STAND_INS", "TemplateError", "describe", "hide", "parse", "parse_template", "parts"]

PLAIN = {"#": "\ue000", "%": "\ue001", "$": "\ue002", "/": "\ue003"}  # stand-ins for the signs while the library parses
LONE = re.compile(r"#|%(?!\{)|(?<!\$)\$(?![${])|/(?=[/*])")  # these signs outside of the grammar
STAND_INS = tuple(PLAIN.values())
HIDE = str.maketrans(PLAIN)
SHOW = str.maketrans({stand_in: sign for sign, stand_in in PLAIN.items()})
ESCAPE = re.compile(
    r"\\(?:[{}|]|\$[${]|%\{|__)"
)  # the grammar has no escapes: the library would keep the backslash and obey the sign


class TemplateError(ValueError):
    """Error of one template: what was required, what was got."""

    def __init__(self, required: str, got: str) -> None:
        super().__init__(f"required {required}; got {got}")
        self.required = required
        self.got = got


def parse_template(template: str) -> Command:
    """Parse a template into the library's tree of commands. Raises TemplateError.

    >>> parse_template("{red|blue} car for $5").tokens[1].literal.translate(SHOW)
    ' car for $5'
    """
    if any(stand_in in template for stand_in in STAND_INS):
        raise TemplateError("text without the private characters U+E000 … U+E003", show(template))
    command = parse(hide(template), "")
    known = {part.name for part in parts(command) if isinstance(part, VariableAssignmentCommand)}
    for part in parts(command):
        if isinstance(part, VariableAccessCommand) and part.default is None and part.name not in known:
            required = f"a variable that the template sets, as ${{{part.name}={{red|blue}}}}, or one with a default"
            raise TemplateError(required, f"${{{part.name}}}")
    return command


def parse(text: str, where: str) -> Command:
    """Parse a text whose lone signs are hidden. Raises TemplateError; `where` is the beginning of its `got`."""
    if escape := ESCAPE.search(text):
        required = "no backslash in front of a sign of the grammar (there are no escapes: braces can't be text)"
        raise TemplateError(required, f"{where}{escape[0]} in {_show(text)}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # from pyparsing 3.3 on, of the library's calls
        try:
            command = parse_as_the_library(text)
        except RecursionError:
            raise TemplateError("braces in braces, not this deep", _show(text)) from None
        except Exception as error:  # of pyparsing and others
            required = "a template whose braces, wildcards and variables are whole"
            raise TemplateError(required, f"{where}{_show(text)}: {describe(error)}") from None
    for required, got in _faults(command):
        raise TemplateError(required, f"{where}{got}")
    return command


def _show(text: str) -> str:
    return show(text.translate(SHOW))


def describe(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".translate(SHOW)


def hide(text: str) -> str:
    return LONE.sub(lambda found: found[0].translate(HIDE), text)


def _faults(command: Command) -> Iterator[tuple[str, str]]:
    """Yield (required, got) of everything that the library would misread."""
    for part in parts(command):
        if isinstance(part, LiteralCommand) and "}" in part.literal:
            yield "a { for every }", f"one more }} in {_show(part.literal)}"
        elif isinstance(part, VariantCommand):
            yield from _braces_faults(part)
        elif isinstance(part, WrapCommand):
            inside = list(parts(part.wrapper))
            texts = [own.literal for own in inside if isinstance(own, LiteralCommand)]
            drawn = any(isinstance(own, WildcardCommand | VariableAccessCommand) for own in inside)
            if not drawn and not any(map(WRAP_MARKER_RE.search, texts)):
                yield "… in front of $$, where the text behind it goes", _show(" ".join(texts))
    for part in parts(command):
        if isinstance(part, VariantCommand) and len(part.values) == 1:
            (value,) = part.values
            tokens = value.tokens if isinstance(value, SequenceCommand) else [value]
            texts = [token.literal for token in tokens if isinstance(token, LiteralCommand)]
            if text := "".join(texts).strip():
                yield f"options in braces, such as {{red|blue}}{_other_braces(text)}", _show(f"{{{text}}}")


def _other_braces(text: str) -> str:
    """Return a hint about a text in braces that is no template."""
    if text == "prompt":
        return " (a style? Its file is for --styles)"
    return " (JSON? A table of one object a line is .jsonl)" if re.match(r"[\"'][^\"']*[\"']\s*:", text) else ""


def _braces_faults(braces: VariantCommand) -> Iterator[tuple[str, str]]:
    options = [value.tokens if isinstance(value, SequenceCommand) else [value] for value in braces.values]
    texts = [token.literal for tokens in options for token in tokens if isinstance(token, LiteralCommand)]
    if options == [[]]:
        yield "at least one option in braces", "{}"
    for text in texts:
        if "::" in text:
            yield "weights as in {3::red|0.5::blue}, numbers of at least 0 in front, and no other ::", _show(text)
    if min(braces.weights) < 0:
        yield "weights of at least 0", f"{min(braces.weights):g}"
    found, most = sum(weight > 0 for weight in braces.weights), braces.max_bound
    if len(options) == 1 and isinstance(braces.values[0], WildcardCommand):
        return  # the bound counts the values of the wildcard
    if most > len(options):
        yield f"at most as many of the options as there are, {len(options)}", f"{most}$$"
    elif found < most:
        yield f"at least {most} option{'s' if most > 1 else ''} of a weight above 0", str(found)


def parts(command: Command) -> Iterator[Command]:
    """Yield the command and all commands below it."""
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
            yield from parts(part)
