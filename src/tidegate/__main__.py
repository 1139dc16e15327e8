"""Run the command line as ``python -m tidegate``."""

from tidegate.cli.main import main

main()
