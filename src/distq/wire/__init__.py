"""BaseManager's own protocol without I/O: bytes in, events out. It reads no clock and opens no socket."""
