"""The group of ratekeeper's commands, each imported when it is asked for.

Owns the list of commands. Loaded only by a command, since it imports click.
"""

from __future__ import annotations

from importlib import import_module

import click  # noqa: TID253

# The command itself is ``ratekeeper.cli.<name>.command``.
COMMANDS = {
    "demo": "See a few hundred calls meet a quota, without ratekeeper and with it.",
    "prices": "Show what would be charged for a model, and why.",
    "report": "Say what was spent, and by whom, from a ledger's file.",
    "provider": "Run the fake provider: load test before production.",
}


class LazyGroup(click.Group):
    """A group that lists its commands without importing them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """All names."""
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The command of a name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"ratekeeper.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The help of the list above."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name]) for name in sorted(COMMANDS)])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="ratekeeper")
def group() -> None:
    """Keep LLM applications inside their providers' quotas."""
