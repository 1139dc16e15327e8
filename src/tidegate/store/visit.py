"""A look at the store of a folder from outside, gateway running or not, for a forecast; nothing is written."""

from pathlib import Path
from typing import NamedTuple

import apsw

from tidegate.domain import arrival
from tidegate.domain.arrival import Observed
from tidegate.domain.policy import Policies
from tidegate.domain.sample import COARSE, Thin
from tidegate.domain.survey import Survey
from tidegate.store import growth, replacement, survey
from tidegate.store.connection import SqliteReads, open_reader
from tidegate.store.scrub import is_older
from tidegate.store.sqlite import NAME
from tidegate.store.tx import Reads
from tidegate.store.writer import translate


class Seen(NamedTuple):
    """What a store holds, and what came in its last week."""

    survey: Survey
    observed: Observed


def look(folder: Path, policies: Policies, now: int) -> Seen | None:
    """Look at the store of a folder; None where there is none, or one of an older release.

    Raises:
        Corrupt: The file is not a database any more.
        Unavailable: A restore was interrupted.
    """
    path = folder / NAME
    if not path.exists():
        return None
    replacement.check(path)
    try:
        connection = open_reader(path)
        try:
            reads = SqliteReads(connection)
            with reads.snapshot():
                return Seen(survey.take(reads, policies, now), _observed(reads, now))
        finally:
            connection.close()
    except apsw.Error as error:
        if is_older(error):
            return None
        raise translate(error) from error


def _observed(reads: Reads, now: int) -> Observed:
    found = Thin(1)
    for first in range(0, COARSE.slots, growth.PAGE):
        for slot in growth.page(reads, COARSE, first, arrival.SERIES):
            if slot.at >= now - arrival.LOOKS_BACK_MS:
                found.add(slot)
    return arrival.observed(found.in_order())
