"""Make the modules that names stand for: a user's class may leave out what `nn.Module` needs."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from plastic_envs.utils.errors import UsageError, usage_error
from plastic_envs.utils.registry import construct


def construct_module(kind: str, name: str, make: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What a name stands for, made with its options.

    Raises:
        UsageError: see `plastic_envs.utils.registry.construct`; or its `__init__` refuses a value, or does not begin
            with that of its base class.
    """
    refusal = f"{kind} {name!r}: its __init__ must call super().__init__() before all else"
    try:
        made = construct(kind, name, make, options)
    except (TypeError, ValueError, LookupError, OverflowError) as error:
        if isinstance(error, UsageError):
            raise
        raise usage_error(f"{kind} {name!r}: {' '.join(str(error).split())}", error) from error
    except AttributeError as error:
        if "before Module.__init__()" in str(error):
            raise UsageError(refusal) from None
        raise
    if isinstance(made, nn.Module) and "_modules" not in vars(made):
        raise UsageError(refusal)
    return made
