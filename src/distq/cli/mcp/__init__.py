"""`distq mcp`: an agent reads the state of a cluster by the Model Context Protocol, and can change nothing."""
