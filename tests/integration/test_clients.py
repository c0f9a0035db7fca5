"""Libraries that take Gymnasium's environments live in ours, in an environment of their own: see tests/clients."""

import subprocess
from pathlib import Path

import pytest

from tests.clients.__main__ import CLIENTS, IDS

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_client_lives_in_every_registered_environment():
    done = subprocess.run(["make", "clients"], cwd=ROOT, capture_output=True, text=True, check=False)
    table = [line.split() for line in done.stdout.splitlines() if line.split(" ")[0] in CLIENTS]
    assert done.returncode == 0, done.stdout + done.stderr
    assert {client for client, *_ in table} == set(CLIENTS)
    assert {row[-2] for row in table} == set(IDS)
    assert {row[-1] for row in table} == {"ok"}
