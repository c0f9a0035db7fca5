"""Ray started on this machine, for this process alone: what it opens nobody else can reach, or use."""

import contextlib
import ipaddress
import logging
import os
import secrets
import tempfile
from collections.abc import Generator

import ray  # evolution.searchers.evolutionary.actors has said so if it is missing
from ray._private import ray_constants
from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]
from ray.job_config import JobConfig

from plastic_envs.utils.errors import UsageError
from plastic_envs.utils.working_directory import environment

SHORT = "/tmp"


class Job(JobConfig):
    """What Ray's processes are told: not to look for modules first in the working directory, as they would."""

    def _runtime_env_has_working_dir(self) -> bool:
        return True  # then that of the driver is not theirs; `working_directory.Carried` brings it along


@contextlib.contextmanager
def local_ray(cpus: int) -> Generator[None]:
    """Ray with so many processes, which end with this one.

    All of it listens on the loopback address alone, and asks for a token that is drawn here. What it writes lies in a
    folder that only this user can read, and that goes with it. A cluster that `RAY_ADDRESS` names is not joined.

    Raises:
        UsageError: this version of Ray listens elsewhere all the same.
    """
    settings = {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        ray_constants.ENABLE_RAY_CLUSTERS_ENV_VAR: "0",  # elsewhere than on Linux the default: no other machines
    }
    clusters = ray_constants.ENABLE_RAY_CLUSTER
    where = SHORT if os.path.isdir(SHORT) else None
    with (
        tempfile.TemporaryDirectory(prefix="plastic-envs-", dir=where, ignore_cleanup_errors=True) as folder,
        environment(settings),
    ):
        _read_environment()
        ray_constants.ENABLE_RAY_CLUSTER = False  # it has read the environment when it was imported
        try:
            ray.init(
                "local", num_cpus=cpus, include_dashboard=False, logging_level=logging.ERROR, log_to_driver=False,
                job_config=Job(),
                _temp_dir=f"{folder}/ray",  # which Ray opens to all, but not the folder that it is in
            )  # fmt: skip
            host = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
            if not ipaddress.ip_address(host).is_loopback:
                raise UsageError(f"Ray {ray.__version__} listens on {host}, for other machines: use another version")
            yield
        finally:
            ray.shutdown()
            ray_constants.ENABLE_RAY_CLUSTER = clusters
    _read_environment()


def _read_environment() -> None:
    """Let Ray, which remembers what it finds, look at the environment again."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
