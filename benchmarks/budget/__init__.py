"""Compares the machine instructions of the ledger, the protocol and the wire with a committed budget: `make budget`."""
