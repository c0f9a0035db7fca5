"""Tables from names to classes: one for tasks, one for rules, one for cells, one for searchers."""

import importlib
import inspect
import json
import logging
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, ClassVar

from plastic_envs.utils.checks import choose, plain, shown, whole_number
from plastic_envs.utils.errors import NotImportableError, UnknownNameError, UsageError, WrongTypeError, usage_error
from plastic_envs.utils.working_directory import import_own, is_hidden, is_module_of

_SPEC = re.compile(r"([\w-]+)[\s;:/]+(\w+=.*)", re.DOTALL)
"""A name and an option with something else than a comma between them."""


@dataclass(frozen=True)
class Row:
    """One entry: where the class lies (`"module:Name"`, imported only when used) and a line about it.

    `options` are keyword arguments that the entry fixes, so that a variant is a row rather than a class.
    """

    target: str
    summary: str
    options: Mapping[str, Any] = field(default_factory=dict)


class Registry(Mapping[str, Row]):
    """Rows by name; unknown names of the form `module:Name` are imported from the user's code."""

    made: ClassVar[list["Registry"]] = []
    """All that were imported: a name may be one of another table's."""

    def __init__(
        self, kind: str, rows: Mapping[str, Row], example: str = "", renamed: Mapping[str, str] | None = None
    ) -> None:
        """Make a table.

        Args:
            kind: What its names stand for.
            rows: The entries.
            example: Where its names, {}, are written if not as what they are.
            renamed: From names of the release before, which go on for this one, to those of today.
        """
        self.kind, self.example = kind, example
        self._rows, self._renamed = dict(rows), dict(renamed or {})
        self.made.append(self)

    def __getitem__(self, name: str) -> Row:
        if not isinstance(name, str):
            raise WrongTypeError(f"{self.kind} must be a name, not {name!r}")
        name = self.current(name)
        if name in self._rows:
            return self._rows[name]
        spec = _SPEC.fullmatch(name)
        if spec and spec[1] in self._rows:
            raise UnknownNameError(f"unknown {self.kind} {shown(name)}: did you mean '{spec[1]},{spec[2]}'?")
        if ":" in name:
            return Row(name, "from the user's code")
        others = (
            f"that is a {other.kind}{other.example.format(known)}; "
            for other in self.made
            for known in other
            if known.casefold() == name.casefold() and other is not self
        )
        listed = choose(name.rpartition("/")[2], self._rows, ", or name your own as module:Name")
        raise UnknownNameError(f"unknown {self.kind} {shown(name)}: {next(others, '')}{listed}")

    def __contains__(self, name: object) -> bool:
        """Whether the package itself has a row of this name; a user's `module:Name` has none."""
        return name in self._rows

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def current(self, name: str) -> str:
        """The name of today: another one for a name of the release before, of which the log tells once."""
        if (now := self._renamed.get(name)) is None:
            return name
        tell_renamed(self.kind, name, now)
        return now

    def load(self, name: str) -> Any:
        """Import and return what a name stands for.

        Raises:
            UsageError: the name is unknown, or its module or attribute cannot be imported.
        """
        return load_object(self[name].target, self.kind, own=self.current(name) not in self._rows)

    def load_class(self, name: str, base: type) -> Any:
        """The class that a name stands for.

        Raises:
            UsageError: it is not a subclass of `base`.
        """
        found = self.load(name)
        if not (inspect.isclass(found) and issubclass(found, base)):
            raise WrongTypeError(
                f"{self.kind} {name!r}: {found!r} is not a subclass of {base.__module__}.{base.__name__}"
            )
        return found


@cache  # once in a process
def tell_renamed(what: str, old: str, new: str) -> None:
    """Say that a word a user may have typed is another one now."""
    logging.getLogger(__name__).warning(
        "%s %r is called %r now; the old name goes with the next release", what, old, new
    )


def load_object(target: str, kind: str, *, own: bool = True) -> Any:
    """Import `"package.module:Name"`; one of the user's `own` may lie in the working directory.

    Raises:
        UsageError: it is not of this form, or its module or attribute cannot be imported.
    """
    module_name, _, attribute = target.partition(":")
    if not all(word.isidentifier() for word in [*module_name.split("."), attribute]):
        raise UsageError(f"{kind} {target!r} is not of the form module:Name")
    try:
        module = (import_own if own else importlib.import_module)(module_name)
    except ModuleNotFoundError as error:
        if is_module_of(error.name, module_name):
            raise NotImportableError(
                f"{kind} {target!r}: there is no module {module_name!r} on the Python path"
            ) from None
        raise
    if not hasattr(module, attribute):
        hint = "; that of the working directory has the name of an installed one" if is_hidden(module_name) else ""
        raise NotImportableError(f"{kind} {target!r}: module {module_name!r} has no {attribute!r}{hint}")
    return getattr(module, attribute)


def construct(kind: str, name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """Call what a name stands for with its options.

    Raises:
        UsageError: it is abstract, or the options lack one that it needs.
    """
    try:
        inspect.signature(make).bind(**options)
    except (TypeError, ValueError) as error:  # ValueError: a builtin that tells no signature
        raise usage_error(f"{kind} {name!r}: {error}", error) from None
    if inspect.isabstract(make):
        raise WrongTypeError(f"{kind} {name!r} is abstract: name a class that defines all its methods")
    return make(**{name: plain(value) for name, value in options.items()})


def check_trusted(where: object, spec: str, trust: Collection[str]) -> None:
    """Refuse a spec from a file whose name, or an option's value, is code of the user's own that is not trusted.

    Raises:
        UsageError: making what the spec stands for would import such code.
    """
    for name in own_code(spec):
        if name not in trust:
            raise UsageError(
                f"{where} names {name!r}, which is code of your own: to let it run, say --trust {name}, "
                f"or in Python trust=[{name!r}]"
            )


def own_code(spec: str) -> list[str]:
    """Every `module:Name` in a spec: its own name and those in the values of its options (a source of images)."""
    name, options = parse_spec(spec)
    inner = [found for value in options.values() for text in texts(value) for found in own_code(text)]
    return [name, *inner] if ":" in name else inner


def texts(value: Any) -> Iterator[str]:
    """The strings in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for item in value.values() if isinstance(value, dict) else value:
            yield from texts(item)


def parse_spec(text: str) -> tuple[str, dict[str, Any]]:
    """Split `"name,key=value,…"` into the name and its options; values are read as JSON, else as text.

    A value that has options itself stands in parentheses, which are not part of it.

    >>> parse_spec("SequenceReproduction,seq_length=5,delay=0")
    ('SequenceReproduction', {'seq_length': 5, 'delay': 0})
    >>> parse_spec("plastic-head,front_end=(conv4,channels=32)")
    ('plastic-head', {'front_end': 'conv4,channels=32'})

    Raises:
        UsageError: it is not of this form.
    """
    if not isinstance(text, str):
        raise WrongTypeError(f"a name with options is written 'name,key=value', not {text!r}")
    name, *pairs = _split(text)
    options: dict[str, Any] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (key and equals):
            raise UsageError(f"cannot read {pair!r} in {text!r}: options are written name,key=value,key=value")
        if key in options:
            raise UsageError(f"{text!r} gives {key} twice: each option is given once")
        if value.startswith("(") and value.endswith(")"):
            options[key] = value[1:-1]
            continue
        options[key] = _value(value)
    return name, options


def _value(text: str) -> Any:
    """An option's value: a number, or other JSON, or the text itself; 1e5 and 100_000 are whole numbers."""
    try:
        number = whole_number(text)
        return json.loads(text) if number is None else number
    except (ValueError, RecursionError):  # also a number of more digits than Python reads
        return text


def _split(text: str) -> list[str]:
    """What stands between the commas outside of parentheses."""
    parts = [""]
    depth = 0
    for letter in text:
        depth += (letter == "(") - (letter == ")")
        if letter == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += letter
    if depth:
        raise UsageError(f"{text!r} opens and closes different numbers of parentheses")
    return parts


def format_spec(name: str, options: Mapping[str, Any]) -> str:
    """Write a name and its options back as `"name,key=value"`, the inverse of `parse_spec`."""
    return ",".join([name, *(f"{key}={_format(value)}" for key, value in options.items())])


def _format(value: Any) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    return f"({value})" if "," in value else value
