"""What client and worker must agree on: names of functions, their options, payloads, failures."""
