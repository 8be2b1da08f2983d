"""Both ways to the workers: the recipe's, then that of distq's own client; `python3 helm/files/client [HOW MANY]`."""
# ruff: noqa: INP001 - a folder of programs, not a package

import futures
import squares

squares.main()
futures.main()
