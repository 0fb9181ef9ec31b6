"""What the fault tests share: both wires, quick timers, and every way to read an object."""

from __future__ import annotations

import pytest
from reading import WAYS


@pytest.fixture(params=["http", "https"])
def wire(request):
    """Give an empty emulator, once in the clear and once over TLS."""
    return request.getfixturevalue("site" if request.param == "http" else "secure_site")


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def read(request):
    """Give each way to read a whole object: a function of its URI and the arguments of a class."""
    return request.param
