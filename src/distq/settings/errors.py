"""What is wrong with the settings, said so that it can be put right."""

from distq.core.errors import DistqError


class SettingsError(DistqError):
    """A setting is missing, not understood, or contradicts another one; commands exit with 2."""

    code = "SETTINGS"
    exit_code = 2
