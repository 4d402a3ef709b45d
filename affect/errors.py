"""The errors that a user can fix, under one base class."""


class UserError(Exception):
    """Something that the user of a command can fix.

    The message names the file, line or key, what is wrong and what to do. The command line prints it without a
    traceback and exits with status 2; any other exception is a bug and keeps its traceback.
    """


class MissingFileError(UserError):
    """A file or folder that a command needs does not exist, or an optional package is not installed."""


class InvalidFileError(UserError):
    """A file is damaged, has another format than expected, or holds values out of range."""


class InvalidOptionError(UserError):
    """An option has an unknown or contradictory value."""
