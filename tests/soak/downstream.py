"""Downstream: a storage that is killed while objects are fetched through this edge."""

from tests.soak.report import Report, Scale


def run(scale: Scale) -> Report:
    """Say that it is not there yet."""
    return Report("downstream", skipped="no phase yet: kill -9 of a storage under load")
