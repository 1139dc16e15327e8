"""What a message can tell the gateway itself to do, whoever the model is."""

from collections.abc import Sequence
from enum import StrEnum

from tidegate.domain.entry import Body, Notice, Summary, System, User
from tidegate.domain.run import Origin, Run
from tidegate.domain.session import Session
from tidegate.store.admission import Admission


class Command(StrEnum):
    """The commands; a message that is one of them and nothing else is not read by the model."""

    COMPACT = "/compact"
    NEW = "/new"


def command(text: str) -> Command | None:
    """Return the command that a message is, if it is one."""
    return next((one for one in Command if text.strip() == one), None)


def begins_afresh(admission: Admission) -> bool:
    """Whether a piece of work is the message that asks for a new conversation."""
    last = admission.bodies[-1] if admission.bodies else None
    is_message = admission.origin is Origin.MESSAGE and isinstance(last, User)
    return is_message and last is not None and command(last.text) is Command.NEW


def command_of(session: Session, run: Run, bodies: Sequence[Body]) -> Command | None:
    """Return the command that a run of a conversation carries out; what strangers send is none."""
    # instructions come along with a message; a summary it may have made before a crash
    own = (body for body in bodies if body.run == run.id and not isinstance(body, System | Summary))
    prompt = next(own, None)
    if not session.policy.is_conversation or run.origin is Origin.HOOK:
        return None
    match prompt:
        case User():
            found = command(prompt.text)
            return None if found is Command.NEW and run.origin is not Origin.MESSAGE else found
        case Notice():
            return command(prompt.command)
        case _:
            return None
