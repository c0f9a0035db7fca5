"""Train a plastic network and an ordinary one to remember which of two cues was worth what."""

import gymnasium

import agents
import evolution
import plastic_envs

env = gymnasium.make_vec("plastic_envs/CueReward-v0", num_envs=64)  # any library's agents can live in it
task = plastic_envs.make_task("CueReward,n_cues=2,n_show=3,n_query=3,loss_steps=query")  # as a batched, pure function
for rule in ("none", "hebbian,rate=2"):
    agent = agents.make_for(task, rule=rule, cell="rnn", hidden=16, seed=0)
    searcher = evolution.make_searcher("backprop,learning_rate=0.01", task, agent, seed=0)  # or "pgpe", "cmaes" …
    while searcher.episodes < 20_000:
        searcher.step()
    score = evolution.evaluate(searcher.agent(), task, episodes=2048)
    low, high = score.interval
    print(f"{rule}: squared error {score.metric:.3f} (95% interval {low:.3f} to {high:.3f})")
print("beside", ", ".join(f"{name} {error:.3f}" for name, error in score.references.items()))
agents.save(searcher.agent(), "runs/quickstart")
