"""Tasks, their states and the ledger that decides their changes; no I/O, and the current time is an argument."""
