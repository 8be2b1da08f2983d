"""The demo: `distq demo`, and the load of Compose's profile `demo`."""
