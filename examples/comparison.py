"""From Python what `train`, `compare` and `report` do: the same folders, and results as values."""

from evolution import Grid, RunSettings, compare, report, train


def main(budget: int = 20_000) -> None:
    """Train one agent, then compare two rules on one task; each run has the same budget of episodes."""
    result = train(RunSettings(task="CueReward", rule="hebbian", budget=budget, evals=4), "runs/one")
    print(result.status, result.metric, (result.metric_low, result.metric_high), result.references)
    grid = Grid(
        tasks=("CueReward",),
        rules=("hebbian", "none"),
        searchers=("backprop",),  # such as "pgpe,popsize=50" too
        seeds=(0, 1),
        budget=budget,
        evals=4,
    )
    for summary in compare(grid, "runs/several", jobs=2).summaries:  # one for each task
        for cell in summary.cells:
            print(cell.name, cell.scores, cell.interval)
    print(report("runs/several"))


if __name__ == "__main__":  # for the processes that `compare` starts
    main()
