"""Runs both example clients: standard library first, then distq.Client. `python3 helm/files/client [COUNT]`."""
# ruff: noqa: INP001 - a folder of programs, not a package

import futures
import squares

squares.main()
futures.main()
