"""A check that an error is of one exact type and says one exact thing."""

from contextlib import contextmanager

import pytest


@contextmanager
def refused(kind, message):
    with pytest.raises(kind) as error:
        yield
    assert str(error.value) == message
    assert error.type is kind
