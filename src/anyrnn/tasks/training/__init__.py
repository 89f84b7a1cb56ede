"""Training, whatever the task.

The `training_loop` and the `learner` on Lightning, `checkpoints`, what is told meanwhile
(`listener`), how it stops (`interruption`, `memory`), several processes and machines (`launch`,
`meeting`, `processes`), and what it results in (`results`).
"""
