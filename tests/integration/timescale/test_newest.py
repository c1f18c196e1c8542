"""The newest revision is known without Alembic, and is Alembic's own."""

from alembic.script import ScriptDirectory

from binance_proxy.adapters.timescale.schema import MIGRATIONS, NEWEST


def test_the_newest_revision_is_the_head_of_the_migrations():
    script = ScriptDirectory(str(MIGRATIONS), version_locations=[str(MIGRATIONS)])
    assert script.get_current_head() == NEWEST
