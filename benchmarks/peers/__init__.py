"""Measures distq beside the systems that its users would pick instead, in one run: `make bench-peers`."""
