"""What a server can do, asked when it gets its tables: whether it has TimescaleDB, and which edition."""

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from binance_proxy.application.ports import StoreRejected

COMMUNITY = "timescale"
"""What ``timescaledb.license`` says of the edition that has everything; ``apache`` has hypertables only."""


def ensure_timescaledb(connection: Connection) -> bool:
    """Return whether TimescaleDB Community can be used in this database, after creating it there if need be.

    Raises:
        StoreRejected: The server has it, and the user may not create it in this database. A database made
            without it would stay so, hence nothing is made.
    """
    if not _is_loaded(connection):
        return False
    savepoint = connection.begin_nested()
    try:
        connection.execute(text("CREATE EXTENSION IF NOT EXISTS timescaledb"))
    except DBAPIError as error:
        savepoint.rollback()
        who = connection.execute(
            text("SELECT current_user || ' may not create it in ' || current_database()")
        ).scalar_one()
        raise StoreRejected(
            f"The server has TimescaleDB, and {who} ({_said(error)}): have an administrator run"
            " CREATE EXTENSION timescaledb there, or grant the right to create in that database."
        ) from error
    edition = connection.execute(text("SELECT current_setting('timescaledb.license', true)")).scalar_one()
    if edition != COMMUNITY:
        savepoint.rollback()
        return False
    savepoint.commit()
    return True


def _is_loaded(connection: Connection) -> bool:
    """Say whether the server has TimescaleDB preloaded, without which it cannot even be created."""
    loaded = text(
        "SELECT current_setting('timescaledb.max_background_workers', true) IS NOT NULL"
        " AND EXISTS (SELECT FROM pg_available_extensions WHERE name = 'timescaledb')"
    )
    return bool(connection.execute(loaded).scalar_one())


def _said(error: DBAPIError) -> str:
    return str(error.orig).rpartition(">: ")[2].rstrip(".")
