"""Errors a user can cause. All derive from `asm.errors.UserError`, the root of the family."""

import functools

from asm import errors
from asm.errors import UserError
from kdloss.quiet import quiet_libraries

__all__ = ["CheckpointError", "ConfigError", "DataError", "UserError", "exits_on_user_error"]

exits_on_user_error = functools.partial(errors.exits_on_user_error, before=quiet_libraries)


class DataError(UserError):
    """A data set, a face or a folder of faces is not what it should be."""


class CheckpointError(UserError):
    """A model file is damaged, of another landmark scheme, or of another data set."""


class ConfigError(UserError):
    """Options that do not fit together, or a value out of range."""
