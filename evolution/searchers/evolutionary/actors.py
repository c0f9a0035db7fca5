"""Ray: the processes, here or on other machines, that the individuals of a population are dealt to."""

import contextlib
import logging
import os
import socket
import warnings
from collections.abc import Generator
from typing import Any

from evolution.searchers.base import Searcher
from plastic_envs.utils.checks import check_int, check_memory, in_gb
from plastic_envs.utils.errors import MissingExtraError, UsageError

GB_A_PROCESS = 0.2
"""Memory of an actor that has done nothing yet."""
SECONDS = 10
"""Within which a cluster must answer."""
SETTINGS = b"\x04"
"""A kind of frame of HTTP/2, and the first that a server sends."""
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0" + SETTINGS + b"\0\0\0\0\0"
"""What a client of HTTP/2 sends first: words for servers that know nothing of it, and settings, none."""


@contextlib.contextmanager
def ray_running(cpus: int, address: str | None = None) -> Generator[None]:
    """Ray started on this machine with so many processes, or an existing cluster joined; left at the end.

    Ray that is started here serves this process alone, see `local_ray`; a cluster keeps its own settings, and
    if it asks for a token, Ray finds it as usual, in `RAY_AUTH_TOKEN` or `~/.ray/auth_token`.

    Args:
        cpus: How many processes work side by side, where Ray is started here.
        address: Of a cluster, "auto" or "host:port" as in `ray.init`; None to start Ray here.

    Raises:
        UsageError: there is no such cluster, it refuses, or Ray lost what it worked on for good.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # no warning about accelerators
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what Ray does about a lost process is not for the user
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
    except ModuleNotFoundError:
        raise MissingExtraError("running on Ray", "evolution") from None
    from evolution.searchers.evolutionary.local_ray import local_ray

    try:
        with local_ray(cpus) if address is None else _cluster(address):
            yield
    except ray.exceptions.RayError as error:
        raise UsageError(
            f"Ray lost a process for good ({type(error).__name__}); what was saved is there: go on with --resume"
        ) from error


@contextlib.contextmanager
def _cluster(address: str) -> Generator[None]:
    """A cluster joined."""
    import ray

    from evolution.searchers.evolutionary.local_ray import Job

    _check_address(address)
    logging.getLogger("ray").setLevel(logging.ERROR)  # a cluster without a token is its owner's choice
    try:
        job: Any = None if address.startswith("ray://") else Job()
        ray.init(address, job_config=job, logging_level=logging.ERROR, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
        raise UsageError(f"ray_address={address!r}: {' '.join(str(error).split())}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_address(address: str) -> None:
    """Refuse a host and port where no Ray answers: Ray itself would try for minutes, and end the process.

    What Ray listens with, gRPC, tells its settings as soon as it is greeted.
    """
    given = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, _, port = given.removeprefix("ray://").rpartition(":")
    if given == "auto" or "://" in host:  # Ray looks for it itself
        return
    if not host or not port.isdecimal():
        raise UsageError(f"ray_address must be host:port, ray://host:port or auto, not {given!r}")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=SECONDS) as connection:
            connection.sendall(GREETING)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise UsageError(f"ray_address={address!r}: nothing answers there: {error}") from None
    encrypted = os.environ.get("RAY_USE_TLS", "0") not in ("", "0")
    if answer[3:4] != SETTINGS and not encrypted:
        raise UsageError(f"ray_address={address!r}: what answers there is not Ray: give the port of its head")


def check_actors(searcher: Searcher, actors: int | None, address: str | None) -> None:
    """Tell a searcher of the actors that it will have; None for none.

    Raises:
        UsageError: the number or the address makes no sense, or the searcher has no population to be dealt out.
    """
    if actors is not None:
        taken = GB_A_PROCESS * check_int("actors", actors, low=1)
        if address is None:
            words = f"actors={actors}: so many processes here take {in_gb(taken)}"
            check_memory(words, taken, "take as many as there are cores")
        searcher.spread_over(actors)
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
