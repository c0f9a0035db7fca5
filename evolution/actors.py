"""Ray: the processes, here or on other machines, that the individuals of a population are dealt to."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Generator

from evolution.searcher import Searcher
from plastic_envs.checks import check_int
from plastic_envs.errors import MissingExtraError, UsageError


@contextlib.contextmanager
def ray_running(cpus: int, address: str | None = None) -> Generator[None]:
    """Ray started on this machine with so many processes, or an existing cluster joined; left at the end.

    Args:
        cpus: How many processes work side by side, where Ray is started here.
        address: Of a cluster, "auto" or "host:port" as in `ray.init`; None to start Ray here.

    Raises:
        UsageError: there is no such cluster, or Ray lost what it worked on for good.
    """
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # these two: no warnings about tokens and accelerators
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what Ray does about a lost process is not for the user
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ModuleNotFoundError:
        raise MissingExtraError("running on Ray", "evolution") from None
    _check_address(address)
    here = {"num_cpus": cpus, "include_dashboard": False} if address is None else {"address": address}
    try:
        ray.init(logging_level=logging.ERROR, log_to_driver=False, **here)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise UsageError(f"ray_address={address!r}: {' '.join(str(error).split())}") from None
    try:
        yield
    except ray.exceptions.RayError as error:
        raise UsageError(
            f"Ray lost a process for good ({type(error).__name__}); what was saved is there: go on with --resume"
        ) from error
    finally:
        ray.shutdown()


def _check_address(address: str | None) -> None:
    """Refuse a host and port where nothing answers: Ray itself would try for minutes."""
    host, _, port = (address or "").rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UsageError(f"ray_address={address!r}: nothing answers there: {error}") from None


def check_actors(searcher: Searcher, actors: int | None, address: str | None) -> None:
    """Tell a searcher of the actors that it will have; None for none.

    Raises:
        UsageError: the number or the address makes no sense, or the searcher has no population to be dealt out.
    """
    if actors is not None:
        searcher.spread_over(check_int("actors", actors, low=1))
    elif address is not None:
        raise UsageError(f"ray_address={address!r} says where actors work: give actors too")


@contextlib.contextmanager
def actors_running(actors: int | None, address: str | None) -> Generator[None]:
    """Have actors at hand while this lasts; None for none.

    Raises:
        UsageError: there is no such cluster, it is too small, or an actor was lost.
    """
    if actors is None:
        yield
        return
    with ray_running(actors, address):
        import ray

        cpus = int(ray.cluster_resources().get("CPU", 0))  # type: ignore[no-untyped-call]
        if cpus < actors:
            raise UsageError(f"actors={actors}: Ray has {cpus} CPUs, and each actor takes one")
        yield
