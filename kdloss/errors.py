"""Errors a user can cause. All derive from `asm.errors.UserError`, the root of the family."""

import functools

from asm import errors
from asm.errors import UserError
from kdloss.quiet import quiet_libraries

__all__ = ["CheckpointError", "ConfigError", "DataError", "UserError", "exits_on_user_error"]


class DataError(UserError):
    """A data set, a face or a folder of faces is not what it should be."""


class CheckpointError(UserError):
    """A model file is damaged, of another landmark scheme, or of another data set."""


class ConfigError(UserError):
    """Options that do not fit together, or a value out of range."""


def exits_on_user_error(main):
    """`asm.errors.exits_on_user_error` for commands that may load network libraries, which then are quiet."""

    @functools.wraps(main)
    def quiet(argv=None):
        quiet_libraries()
        return main(argv)

    return errors.exits_on_user_error(quiet)
