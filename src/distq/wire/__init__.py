"""BaseManager's own protocol without I/O: it turns bytes into events, reads no clock and opens no socket."""
