"""TorchRL: its checks of an environment's specs, and a collector, on single and on vector environments."""

import gymnasium
from torchrl.collectors import Collector
from torchrl.envs import EnvBase, GymEnv, GymWrapper, check_env_specs
from torchrl.modules import RandomPolicy

FRAMES = 120


def collect(env: EnvBase) -> None:
    """Check the specs, then collect random steps through several episodes."""
    check_env_specs(env)
    collector = Collector(env, RandomPolicy(env.action_spec), frames_per_batch=FRAMES, total_frames=2 * FRAMES)
    frames = sum(batch.numel() for batch in collector)
    collector.shutdown()
    assert frames == 2 * FRAMES


def vector(name: str, mode: str) -> None:
    """Four copies."""
    collect(GymWrapper(gymnasium.make_vec(name, num_envs=4, autoreset_mode=mode)))


USES = {
    "GymEnv": lambda name: collect(GymEnv(name)),
    "GymWrapper of make_vec, Disabled": lambda name: vector(name, "Disabled"),
    "GymWrapper of make_vec, SameStep": lambda name: vector(name, "SameStep"),
}
