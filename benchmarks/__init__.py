"""Compares distq with a standard-library server on the same machine, in one run: `make bench`."""
