"""Errors that the user of a command can fix."""


class UserError(Exception):
    """Base class of errors that the user of a command can fix.

    The message names the file, line or key, the problem and the remedy. The command line prints it without a traceback
    and exits with status 2; any other exception is a bug and is shown with its traceback.
    """


class MissingFileError(UserError):
    """A required file or folder does not exist, or an optional package is not installed."""


class InvalidFileError(UserError):
    """A file is damaged, has another format than expected, or holds values out of range."""


class InvalidOptionError(UserError):
    """An option has an unknown or contradictory value."""
