"""Metrics: their catalogue, the views that they are read from, the collectors, and the pages for Prometheus."""
