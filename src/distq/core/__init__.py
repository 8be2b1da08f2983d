"""The law, pure: tasks, their states, the ledger. No I/O; time is an argument."""
