"""Make an environment, an agent and train it."""

import gymnasium

import agents
import evolution
import plastic_envs

env = gymnasium.make_vec("plastic_envs/CueReward-v0", num_envs=64)  # any library's agents can live in it
task = plastic_envs.make_task("CueReward")  # the same as a batched, pure function
agent = agents.make_for(task, rule="hebbian", cell="rnn", hidden=32, seed=0)
searcher = evolution.make_searcher("backprop", task, agent, seed=0)  # or "pgpe", "snes", "cmaes", "ga" …
while searcher.episodes < 10_000:
    searcher.step()
score = evolution.evaluate(searcher.agent(), task, episodes=1024)
print(score.metric, score.interval, score.references)
agents.save(searcher.agent(), "runs/quickstart")
