"""The cheapest link that keeps so much of a task: which settings to walk, which of their cells to run, what they cost.

question (scenario, task, share to keep) -> walk: settings x rungs of a ladder of rates
    -> search: which cells are needed -> runner: cache or workers of the sweep -> trial: cost, share kept, interval
    -> answer: the cheapest, the three that come next -> JSON, words, figure, a scenario to run
"""
