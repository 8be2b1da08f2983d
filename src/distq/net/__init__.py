"""Sockets: the asyncio server of the master, and the connections of clients, workers and the command line."""
