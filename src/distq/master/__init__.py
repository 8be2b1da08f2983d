"""The master: one broker, its cycle, and what is composed around it."""
