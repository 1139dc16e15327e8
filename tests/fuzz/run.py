"""Lets atheris look for what breaks a parser: `make fuzz TARGET=NAME SECONDS=N`; all of them, 300 s each, by default.

What it finds new stays in a temporary folder; what breaks one is kept as ``crash-*`` in the folder it was started in.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["tidegate", "targets"]):
    from targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
MAX_BYTES = 4_096


def main() -> int:
    """Run one target here, or each of several in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", nargs="?", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    options = parser.parse_args()
    if options.target:
        with tempfile.TemporaryDirectory() as found:
            folders = [found, str(CORPUS / options.target)]
            limits = [f"-max_total_time={options.seconds}", f"-max_len={MAX_BYTES}", "-timeout=10"]
            atheris.Setup([sys.argv[0], *folders, *limits], TARGETS[options.target])
            atheris.Fuzz()
    codes = [
        subprocess.run(
            [sys.executable, __file__, name, f"--seconds={options.seconds}"], check=False
        ).returncode
        for name in TARGETS
    ]
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
