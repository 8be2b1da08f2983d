"""The page at `/` of a master: what it shows, who may see more and act, and its three files."""
