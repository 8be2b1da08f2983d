"""The HTTP side, read-only: metrics, probes, and counts as JSON."""
