"""The command line: parse words, call one function, print what it gave."""

from radfoundry.cli.main import main

__all__ = ["main"]
