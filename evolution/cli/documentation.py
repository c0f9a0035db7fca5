"""What a class or function says of itself: its options, with defaults, allowed values and words, and its docstring."""

import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

_ARGUMENTS = re.compile(r"^(?:Args|Attributes):\n((?:(?: .*)?\n)*)", re.MULTILINE)
_ENTRY = re.compile(r"^(\w+): (.*(?:\n +.*)*)", re.MULTILINE)
_SOURCE = re.compile(r"^Sources?: .*(?:\n.+)*", re.MULTILINE)
_KINDS = {int: "a number", NoneType: "null"}


class Option(NamedTuple):
    """A keyword argument."""

    default: str  # as a spec has it
    choices: tuple[str, ...]  # the values that are allowed, if they are few
    text: str  # what a docstring says of it


def options(found: Any) -> dict[str, Option]:
    """The keyword arguments of a class or function by name; a base class may be the one that describes them."""
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):  # not to be called, or a builtin that tells no signature
        return {}
    texts = _texts(found)
    fixed = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {
        p.name: Option(
            "(needed)" if p.default is p.empty else written(p.default), _choices(p.annotation), texts.get(p.name, "")
        )
        for p in parameters
        if p.kind not in fixed
    }


def prose(found: Any) -> str:
    """The docstring but for the arguments; if it names no source, with that of the nearest base class that does."""
    first, *others = _docstrings(found)
    text = re.sub(r"\n{3,}", "\n\n", _ARGUMENTS.sub("", first)).strip()
    sources = [match[0] for part in (first, *others) if (match := _SOURCE.search(part))]
    return "\n\n".join([text, *([] if _SOURCE.search(first) else sources[:1])]).strip()


def written(value: Any) -> str:
    """A value as a spec has it."""
    if isinstance(value, tuple):  # of layers' sizes
        return "-".join(map(str, value))
    return json.dumps(value) if isinstance(value, bool | NoneType) else str(value)


def _texts(found: Any) -> dict[str, str]:
    """What docstrings say of each argument or attribute, a class's own before its bases'."""
    texts: dict[str, str] = {}
    for part in _docstrings(found):
        for section in _ARGUMENTS.findall(part):
            for name, text in _ENTRY.findall(textwrap.dedent(section)):
                texts.setdefault(name, " ".join(text.split()))
    return texts


def _docstrings(found: Any) -> Iterator[str]:
    """The docstring of a function, or of a class and then of each of its bases; each ends with a line break."""
    for part in inspect.getmro(found) if inspect.isclass(found) else (found,):
        if part is not object:
            yield inspect.cleandoc(part.__doc__ or "") + "\n"


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a `Literal`, and what else may stand beside them; nothing for other types."""
    parts = get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)
    if not any(get_origin(part) is Literal for part in parts):
        return ()
    return tuple(
        text
        for part in parts
        for text in (map(written, get_args(part)) if get_origin(part) is Literal else [_KINDS.get(part, str(part))])
    )
