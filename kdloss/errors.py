"""Errors a user can cause. All derive from `asm.errors.UserError`, the root of the family."""

from asm.errors import UserError, exits_on_user_error

__all__ = ["CheckpointError", "ConfigError", "DataError", "UserError", "exits_on_user_error"]


class DataError(UserError):
    """A data set, a face or a folder of faces is not what it should be."""


class CheckpointError(UserError):
    """A model file is damaged, of another landmark scheme, or of another data set."""


class ConfigError(UserError):
    """Options that do not fit together, or a value out of range."""
