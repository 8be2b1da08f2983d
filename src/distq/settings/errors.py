"""The error of a wrong setting."""

from distq.core.errors import DistqError


class SettingsError(DistqError):
    """A setting is missing, cannot be read, or contradicts another one; commands exit with 2."""

    code = "SETTINGS"
    exit_code = 2
