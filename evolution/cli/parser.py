"""How command lines are read, and what is said of those that cannot be; torch is not needed for it."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn


class Given(argparse.Action):
    """Keeps what was typed: lists add up when their option is repeated, anything else is given once."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        """Called each time that the option is there; a command line has actions of its own."""
        typed = self.__dict__.setdefault("typed", [])
        if isinstance(values, list):
            typed += values
            values = typed
        elif option_string is not None and typed:
            parser.error(f"{option_string} is given twice, {typed[0]!r} and {values!r}: give it once")
        else:
            typed.append(values)
        setattr(namespace, self.dest, values)


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, with the name that was probably meant."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.register("action", None, Given)  # what options do that name no action

    def error(self, message: str) -> NoReturn:
        """End with status 2."""
        self.exit(2, f"plastic-envs: error: {message} (see {self.prog} --help)\n")

    def refuse(self, extra: Sequence[str], others: Mapping[str, "Parser"]) -> NoReturn:
        """End because of words that stand for nothing here; other commands may have them."""
        from plastic_envs.utils.checks import nearest, shown

        word = next((word for word in extra if word.startswith("-")), extra[0])
        if not word.startswith("-"):
            self.error(f"{shown(word)} is a word too many")
        option = word.partition("=")[0]
        near = nearest(option, self._option_string_actions)
        having = [name for name, other in others.items() if option in other._option_string_actions]
        if having and near is not None and not (option[2:] in near or near[2:] in option):
            near = None  # it was no slip
        meant = "" if near is None else f", did you mean {near}?"
        self.error(f"unknown option {option}{meant}{f' ({having[0]} has it)' if having else ''}")
