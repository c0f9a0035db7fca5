"""rl-zoo3: its `train` command."""

import subprocess
import sys
import tempfile
from pathlib import Path

STEPS = 256


def train(name: str, algorithm: str, policy: str) -> None:
    """A short training, as typed on the command line; it leaves a model in a folder of its own."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "settings.yml")
        settings.write_text(f"{name}:\n  n_envs: 2\n  n_timesteps: {STEPS}\n  policy: {policy}\n  n_steps: 64\n")
        command = [
            sys.executable, "-m", "rl_zoo3.train", "--algo", algorithm, "--env", name, "--gym-packages", "plastic_envs",
            "--conf-file", str(settings), "--log-folder", folder, "--eval-freq", "-1", "--device", "cpu",
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert list(Path(folder).rglob("*.zip")), done.stdout


USES = {
    "train --algo ppo": lambda name: train(name, "ppo", "MlpPolicy"),
    "train --algo ppo_lstm": lambda name: train(name, "ppo_lstm", "MlpLstmPolicy"),
}
