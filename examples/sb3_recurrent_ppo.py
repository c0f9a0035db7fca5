"""Train sb3-contrib's RecurrentPPO (an LSTM) to classify images from one example each, by reward alone."""

import argparse

from sb3_contrib import RecurrentPPO
from stable_baselines3.common.env_util import make_vec_env
from stable_baselines3.common.evaluation import evaluate_policy

import plastic_envs  # noqa: F401 (registers the ids)

N_WAY = 2
HORIZON = 2 * N_WAY  # one example of each class, then one question about each


def main(total_timesteps: int = 200_000) -> float:
    """Train, and return the share of right answers on classes that were never trained on."""
    name, options = "plastic_envs/FewShotImageClassification-v0", {"n_way": N_WAY, "n_query": N_WAY}
    envs = make_vec_env(name, n_envs=8, seed=0, env_kwargs=options)
    # rollouts of whole episodes, so that no episode is cut and begun again from a stored state
    model = RecurrentPPO("MlpLstmPolicy", envs, n_steps=8 * HORIZON, batch_size=16 * HORIZON, gamma=0.0, seed=0)
    model.learn(total_timesteps)
    unseen = make_vec_env(name, n_envs=8, seed=1, env_kwargs={**options, "split": "test"})
    reward, _ = evaluate_policy(model, unseen, n_eval_episodes=200)  # carries the LSTM's state through each episode
    envs.close()
    unseen.close()
    assert isinstance(reward, float)
    print(f"right answers on unseen classes after {model.num_timesteps} steps: {reward / N_WAY:.0%}")
    return reward / N_WAY


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=200_000, help="environment steps")
    main(parser.parse_args().steps)
