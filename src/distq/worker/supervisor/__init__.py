"""The supervisor of a worker: it starts, watches and replaces executors, and talks with the master for all of them."""
