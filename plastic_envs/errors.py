"""The one exception for input a user can mend."""


class UsageError(ValueError):
    """Bad input, said in one sentence that names the argument, its value and what is allowed.

    The command line prints the sentence alone and exits with status 2; Python code sees a `ValueError`.
    """


class MissingExtraError(UsageError):
    """An optional dependency is absent; the sentence names the extra that brings it."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f"{what} needs an optional dependency: pip install 'plastic-envs[{extra}]'")
