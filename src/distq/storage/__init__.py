"""What keeps heads and bodies: adapters of the `Store` port, chosen by DISTQ_STORE."""
