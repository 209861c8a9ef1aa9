"""The tiny networks by name, beside the real ones."""

import pytest

from tests.training.tiny_chain import use_tiny_networks


@pytest.fixture(autouse=True, scope="module")
def tiny_networks():
    with pytest.MonkeyPatch.context() as patch:
        use_tiny_networks(patch)
        yield


@pytest.fixture
def precision():
    """Sets the global dtype policy and restores it."""
    import keras

    before = keras.mixed_precision.dtype_policy()
    yield keras.mixed_precision.set_dtype_policy
    keras.mixed_precision.set_dtype_policy(before)
