"""Tasks, their states and the ledger that decides what becomes of them. No I/O; the present instant is an argument."""
