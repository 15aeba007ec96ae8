"""The command ``ratekeeper``.

Owns the entry point and the message for whoever lacks the extra ``ratekeeper[cli]``. May not import click or
rich before the command runs.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with 1 and what to install if the extra is missing."""
    try:
        from ratekeeper.cli.group import group  # noqa: PLC0415  (an extra)

        group(prog_name="ratekeeper")
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        # The demo and the provider need more than the command line itself; one message names it all.
        extra = {"demo": "demo", "provider": "cli,testing"}.get("".join(sys.argv[1:2]), "cli")
        sys.exit(f"this command needs an extra (no module {error.name}): pip install 'ratekeeper[{extra}]'")
