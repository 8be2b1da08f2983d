"""The HTTP side: metrics, probes, counts as JSON, and tasks of programs in other languages."""
