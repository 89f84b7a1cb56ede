"""Looking into the networks of tasks: gates, gradients, what inputs an answer rests on."""
