"""Faces that can be evaluated."""

import pytest


@pytest.fixture(scope="session")
def faces_300w(make_prepared):
    """Eight test faces in the 300-W layout, all in the common subset: a partial set without challenging faces."""
    return make_prepared("300w", subsets=lambda i: ("common",))
