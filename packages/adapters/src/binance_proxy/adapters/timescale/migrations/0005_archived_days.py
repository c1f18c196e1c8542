"""Which days of ticks an archive has, so that retention drops no other.

Without a row nothing was ever archived, and retention goes by the age of a day alone, as before.
"""

from alembic import op
from sqlalchemy import text

from binance_proxy.application.ports import StoreRejected

revision = "0005"
down_revision = "0004"

ARCHIVED_DAYS = """
CREATE TABLE archived_days (
    relation text NOT NULL,
    instrument_id integer NOT NULL REFERENCES instruments,
    day date NOT NULL,
    rows bigint NOT NULL CHECK (rows >= -1),
    checksum text NOT NULL,
    archived_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (relation, instrument_id, day)
)
"""
COMMENTS = {
    "TABLE archived_days": "UTC days of ticks that an archive has. Retention drops a day only while this"
    " database holds exactly so many rows of it as are said here.",
    "COLUMN archived_days.relation": "trades, quotes or book_snapshots.",
    "COLUMN archived_days.instrument_id": "Which instrument; see instruments.",
    "COLUMN archived_days.day": "In UTC.",
    "COLUMN archived_days.rows": "How many of the rows of this database the archive has; 0 once they were"
    " dropped, -1 if the archive was found without them.",
    "COLUMN archived_days.checksum": "Of the day as it was archived. Assigned by the archive.",
    "COLUMN archived_days.archived_at": "When it was archived last, by the server''s clock.",
}


def upgrade() -> None:
    """Make the table."""
    op.execute(ARCHIVED_DAYS)
    op.execute("ANALYZE archived_days")
    for what, sentence in COMMENTS.items():
        op.execute(f"COMMENT ON {what} IS '{sentence}'")


def downgrade() -> None:
    """Take the table away.

    Raises:
        StoreRejected: Days are archived, and an older bridge would drop others without asking.
    """
    if op.get_bind().execute(text("SELECT EXISTS (SELECT FROM archived_days)")).scalar_one():
        raise StoreRejected(
            "Days of this database are archived, and an older bridge would drop days that are not: it stays"
            f" at revision {revision} or later. To go back all the same, delete the rows of archived_days."
        )
    op.execute("DROP TABLE archived_days")
