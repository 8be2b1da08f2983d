"""Sessions of the clients and the workers that are connected: their beginnings, timeouts and ends."""
