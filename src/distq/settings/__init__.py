"""The settings: their table, the parser of each kind, and the loader that reads them from environment and files."""

from distq.settings.address import Address, parse_address, parse_addresses
from distq.settings.errors import SettingsError
from distq.settings.load import Loaded, load
from distq.settings.row import Role, Row
from distq.settings.table import ROWS, Settings

__all__ = [
    "ROWS",
    "Address",
    "Loaded",
    "Role",
    "Row",
    "Settings",
    "SettingsError",
    "load",
    "parse_address",
    "parse_addresses",
]
