"""Long output: passed on piece by piece, through a pager where a person reads it."""

import json
import os
import sys
from collections.abc import Iterable, Mapping

import click


def page(pieces: Iterable[str]) -> None:
    """Print a text; on a terminal through ``PAGER``, else ``less``, if it is longer than the screen."""
    if sys.stdout.isatty():
        os.environ.setdefault("LESS", "-FRX")
        click.echo_via_pager(pieces)
    else:
        for piece in pieces:
            click.echo(piece, nl=False)


def print_json(head: Mapping[str, object], name: str, items: Iterable[object]) -> None:
    """Print an object whose last member is a list, without holding the list."""
    between = json.dumps({**head, name: []})[:-2]
    for item in items:
        click.echo(between + json.dumps(item), nl=False)
        between = ", "
    click.echo(f"{'' if between == ', ' else between}]}}")
