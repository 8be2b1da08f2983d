"""Where to connect and where to listen: a host and a port.

The parser lives with the settings, one floor below, because they are where addresses are written.
"""

from distq.settings.address import Address, parse_address, parse_addresses

__all__ = ["Address", "parse_address", "parse_addresses"]
