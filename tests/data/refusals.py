"""What tests of data that cannot be used share."""

import re

import pytest

from jaxlm.errors import BadInput


def refused(make, *patterns):
    """Assert that BadInput is raised with one line that has all of the patterns."""
    with pytest.raises(BadInput) as caught:
        make()
    message = str(caught.value)
    assert "\n" not in message
    for pattern in patterns:
        assert re.search(pattern, message), message
    return message
