"""Adapters: distq behind the interfaces of other libraries. Each has an extra of its own."""
