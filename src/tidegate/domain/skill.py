"""What is known of a skill, and what may be wrong with one.

Source: https://agentskills.io/specification
"""

import re
from collections.abc import Mapping
from enum import StrEnum

import msgspec

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 1_024
MAX_COMPATIBILITY_CHARS = 500

_NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class Severity(StrEnum):
    """How bad a problem is: an error breaks the format, a warning is worth a look."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """Something that a person should change; a skill may be used in spite of it."""

    severity: Severity
    path: str
    #: from 1; 0 where the path is a folder
    line: int = 1
    message: str
    remedy: str

    @property
    def place(self) -> str:
        """Where it is, as editors understand it."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Skill(msgspec.Struct, frozen=True, kw_only=True):
    """What the head of a SKILL.md says."""

    name: str
    description: str
    license: str = ""
    compatibility: str = ""
    metadata: Mapping[str, str] = {}
    #: what its author had in mind; shown, not enforced
    allowed_tools: tuple[str, ...] = ()


def is_name(text: str) -> bool:
    """Whether *text* can be the name of a skill."""
    return len(text) <= MAX_NAME_CHARS and _NAME.fullmatch(text) is not None
