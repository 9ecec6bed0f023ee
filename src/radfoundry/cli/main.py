"""The `radfoundry` command and its exit codes."""

from __future__ import annotations

import click


@click.group()
@click.version_option(package_name="radfoundry")
def main() -> None:
    """Radiology foundation models, from a folder of scans to a measured model. Not a medical device."""
