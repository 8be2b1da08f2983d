"""Runs both example clients: standard library first, then distq.Client. `python3 helm/files/client [COUNT]`."""
# ruff: noqa: INP001, T201 - a folder of programs, not a package

import os

import futures
import squares

if os.environ.get("DISTQ_TLS_CA"):
    print("The standard library speaks no TLS: its example needs `distq tunnel`, and is left out.")
else:
    squares.main()
futures.main()
