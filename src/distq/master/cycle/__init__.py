"""The cycle of the master: requests are decided, stored and answered, one batch after the other."""
