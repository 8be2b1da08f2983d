"""Who is connected: client and worker sessions, their timeouts and their ends."""
