"""The worker: a supervisor that runs no task, and executors, one process each, that run nothing else."""
