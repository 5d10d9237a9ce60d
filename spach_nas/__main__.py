"""Runs the command as `python -m spach_nas`."""

from spach_nas.cli import main

main()
