"""Small prepared data sets."""

from tests.evaluation.conftest import make_prepared

__all__ = ["make_prepared"]
