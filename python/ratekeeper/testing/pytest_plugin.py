"""The fake provider as a pytest fixture, for whoever asks for it.

Nothing is registered by installing ratekeeper. Put ``pytest_plugins = ["ratekeeper.testing.pytest_plugin"]``
into the root ``conftest.py``, or run ``pytest -p ratekeeper.testing.pytest_plugin``; then
``def test_x(fake_provider)`` has one, and ``@pytest.mark.fake_provider(rpm=5, window=1.0)`` sets it up.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ratekeeper.testing.provider import FakeProvider


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "fake_provider(**settings): settings of the fake_provider fixture.")


@pytest.fixture
def fake_provider(request: pytest.FixtureRequest) -> Iterator[FakeProvider]:
    """A running ``FakeProvider``, without limits unless the test is marked with some."""
    marker = request.node.get_closest_marker("fake_provider")
    with FakeProvider(**(marker.kwargs if marker else {})) as provider:
        yield provider
