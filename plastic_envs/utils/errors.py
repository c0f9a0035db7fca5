"""The one exception for input a user can mend, and its kinds, which are also what Python code catches."""

from collections.abc import Mapping


class UsageError(ValueError):
    """Bad input, said in one sentence that names the argument, its value and what is allowed.

    The command line prints the sentence alone and exits with status 2; Python code sees a `ValueError`, and by the
    subclasses also the built-in class that Python itself would raise. Each is made of one sentence, as clients that
    raise it again do.
    """

    @property
    def sentence(self) -> str:
        """What the command line prints."""
        return str(self)


class WrongTypeError(UsageError, TypeError):
    """A value of another type than is wanted, or an argument too few."""


class UnknownOptionError(WrongTypeError):
    """A keyword that is not taken: behind the sentence stand Python's own words, by which callers know the case."""

    def __init__(self, sentence: str, option: str | None = None) -> None:
        super().__init__(f"{sentence} (got an unexpected keyword argument {option!r})" if option else sentence)
        self._sentence = sentence

    @property
    def sentence(self) -> str:
        """Without Python's words."""
        return self._sentence


class UnknownNameError(UsageError, KeyError):
    """A name that stands for nothing: `Mapping.get` and `in` find it missing, as in any dict."""

    __str__ = Exception.__str__  # that of KeyError is a repr


class FileUsageError(UsageError, OSError):
    """A file or folder that cannot be read or written, or is not of the kind that is wanted."""


class MissingFileError(FileUsageError, FileNotFoundError):
    """A file or folder that is not there."""


class OccupiedFolderError(FileUsageError, FileExistsError):
    """A folder that holds already what would be written into it, or something else."""


class NotImportableError(UsageError, ImportError):
    """A module, or a name in one, that cannot be imported."""


class MissingExtraError(NotImportableError):
    """An optional dependency is absent; the sentence names the extra that brings it."""

    def __init__(self, what: str, extra: str | None = None) -> None:
        needs = f"{what} needs an optional dependency: pip install 'plastic-envs[{extra}]'"
        super().__init__(needs if extra else what)


def usage_error(sentence: str, cause: BaseException) -> UsageError:
    """The kind of `UsageError` that another's exception is, with a sentence of ours."""
    kinds: Mapping[type[BaseException], type[UsageError]] = {
        TypeError: WrongTypeError,
        KeyError: UnknownNameError,
        ImportError: NotImportableError,
        FileNotFoundError: MissingFileError,
        OSError: FileUsageError,
    }
    return next((kinds[kind] for kind in kinds if isinstance(cause, kind)), UsageError)(sentence)
