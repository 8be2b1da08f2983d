"""The client: submits functions, gives futures, collects results."""
