"""Wrap environments with Gymnasium's own wrappers: statistics, a video, the time in the observation, torch tensors."""

import argparse
from pathlib import Path

import gymnasium
import torch
from gymnasium.wrappers import NumpyToTorch, RecordEpisodeStatistics, RecordVideo, TimeAwareObservation
from gymnasium.wrappers import vector as vector_wrappers

import plastic_envs


def one_environment(videos: Path) -> float:
    """Live one episode that always answers 0, film it into `videos`, and return its reward."""
    horizon = plastic_envs.make_task("CueReward").horizon  # TimeAwareObservation wants to be told
    env = gymnasium.make("plastic_envs/CueReward-v0", render_mode="rgb_array", max_episode_steps=horizon)
    env = RecordVideo(env, str(videos), episode_trigger=lambda episode: True)
    env = NumpyToTorch(RecordEpisodeStatistics(TimeAwareObservation(env)))
    observation, info = env.reset(seed=0)
    done = False
    while not done:
        assert isinstance(observation, torch.Tensor)
        observation, _, terminated, truncated, info = env.step(torch.zeros(1))
        done = terminated or truncated
    env.close()
    return float(info["episode"]["r"])


def many_environments(num_envs: int) -> list[float]:
    """Live an episode in each of many environments at once, answering 0, and return their rewards."""
    envs = gymnasium.make_vec("plastic_envs/CueReward-v0", num_envs=num_envs)
    envs = vector_wrappers.NumpyToTorch(vector_wrappers.RecordEpisodeStatistics(envs))
    envs.reset(seed=0)
    while True:
        _, _, terminated, _, info = envs.step(torch.zeros(num_envs, 1))
        if terminated.all():
            return [float(reward) for reward in info["episode"]["r"]]


def main(videos: Path = Path("runs/videos"), num_envs: int = 100) -> tuple[float, list[float]]:
    """Run both and print what Gymnasium's statistics say."""
    single, many = one_environment(videos), many_environments(num_envs)
    print(f"one episode: reward {single:.2f}; its video is in {videos}")
    print(f"{num_envs} episodes at once: mean reward {sum(many) / num_envs:.2f}")
    return single, many


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=Path, default=Path("runs/videos"))
    main(parser.parse_args().videos)
