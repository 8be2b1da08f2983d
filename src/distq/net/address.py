"""Addresses to connect to and to listen at: a host and a port.

The parser is in the package `settings`, because users write addresses as settings.
"""

from distq.settings.address import Address, parse_address, parse_addresses

__all__ = ["Address", "parse_address", "parse_addresses"]
