"""The client of asyncio: it does the same as the client of threads, on one event loop and without threads."""
