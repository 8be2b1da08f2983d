"""One module for each measured system. It has these names, and starts nothing when it is imported.

- `TITLE`: the system's name in tables.
- `SETTINGS`: how it runs here, and which of its settings differ from its defaults.
- `running(workers)`: a context manager that starts the system and yields a `benchmarks.peers.system.System`.
"""
