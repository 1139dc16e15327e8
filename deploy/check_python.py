"""Says what is missing before `make` makes anything: a Python that is new enough, and one that can make a venv.

Whatever `python3` there is reads it, so it is written for the oldest of them.
"""

import sys

NEEDED = (3, 11)
TOO_OLD = """error: Tidegate needs Python 3.11 or newer; %s is Python %s
hint: name a newer one, for example `make run PYTHON=python3.12`; to get one:
  Debian, Ubuntu  apt install python3.11 python3.11-venv
  Fedora          dnf install python3.12
  macOS           brew install python@3.12
  anywhere        install uv (https://docs.astral.sh/uv/), then `make run PYTHON=3.12`
"""
NO_VENV = """error: %s cannot make a virtual environment: its module venv is not whole
hint: on Debian and Ubuntu: apt install python%s-venv
"""


def main():
    """Return 0, or 1 with words on what to do; the argument venv asks for the module of that name, too."""
    found = "%d.%d" % sys.version_info[:2]
    if sys.version_info < NEEDED:
        sys.stderr.write(TOO_OLD % (sys.executable, found))
        return 1
    if "venv" in sys.argv[1:]:
        try:
            import ensurepip
            import venv
        except ImportError:
            sys.stderr.write(NO_VENV % (sys.executable, found))
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
