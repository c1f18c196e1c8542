"""On which servers a test of the store runs: the embedded PostgreSQL, and TimescaleDB if there is one."""

import os

import pytest

VARIABLE = "TEST_TIMESCALE_URL"

timescale_only = [
    pytest.mark.timescale,
    pytest.mark.skipif(VARIABLE not in os.environ, reason=f"no TimescaleDB Community at {VARIABLE}"),
]

both = pytest.mark.parametrize(
    "server", ["plain", pytest.param("timescale", marks=timescale_only)], indirect=True
)
"""Runs a test, or every test of a class or file, on either kind of server."""


def timescale_url() -> str:
    """Return a database of a server with TimescaleDB Community whose user may make databases."""
    return os.environ[VARIABLE]
