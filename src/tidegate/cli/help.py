"""``tidegate help``: what ``--help`` shows, for those who type it the other way round."""

from collections.abc import Sequence

import click


@click.command("help")
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def help_(context: click.Context, words: Sequence[str]) -> None:
    """Show what there is, or how a command is used."""
    above = context.parent or context
    command = above.command
    for word in words:
        found = command.get_command(above, word) if isinstance(command, click.Group) else None
        if found is None:
            raise click.UsageError(f"there is no command {' '.join(words)[:80]!r}", above)
        above = click.Context(found, info_name=word, parent=above)
        command = found
    click.echo(command.get_help(above))
