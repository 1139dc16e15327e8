"""What is raised when the other side does not play its part."""

from tidegate.errors import Unavailable


class Unreachable(Unavailable):
    """The other side could not be reached or did not answer properly."""

    code = "unreachable"
