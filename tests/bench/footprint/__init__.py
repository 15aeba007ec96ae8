"""What it costs to have ratekeeper: to import it, to install it, to put it around a model.

Owns the comparison.
"""

from __future__ import annotations

from collections.abc import Iterator

from ..figures import Figure, at_most
from . import imports, invoke, wheel

_IMPORT_MS = 30.0
_WHEEL_MB = 5.0
_INVOKE_MICROSECONDS = 100.0


def figures(quick: bool) -> Iterator[Figure]:
    """Time of the import, size of the wheel, time that the wrap adds to a call."""
    yield at_most(
        "import ratekeeper, beyond a bare interpreter",
        imports.milliseconds("import ratekeeper", quick),
        _IMPORT_MS,
        "{:.1f} ms",
    )
    everyday = "from ratekeeper import Keeper, Quota"
    yield Figure(f"  {everyday}", f"{imports.milliseconds(everyday, quick):.1f} ms")
    if not quick:
        yield at_most("wheel", wheel.megabytes(), _WHEEL_MB, "{:.2f} MB")
    for form, added in invoke.microseconds(quick).items():
        yield at_most(
            f"the wrap adds to an {form} of a model that does nothing",
            added,
            _INVOKE_MICROSECONDS,
            "{:.0f} µs",
        )
