"""A setting that cannot be is refused before anything is opened, and passwords are kept to ourselves."""

import pytest

from binance_proxy.bridge.bounds import BOUNDS
from binance_proxy.bridge.load import load_config, part_password
from binance_proxy.domain.errors import ConfigError


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where no bridge.toml lies


def loaded(*options):
    return load_config(None, {}, options)


def value_of(key, *options):
    (found,) = (setting.value for setting in loaded(*options).settings if setting.key == key)
    return found


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("record.candle_interval_s=nan", "record.candle_interval_s = nan is not from 0.001 to 86400"),
        ("record.candle_interval_s=inf", "record.candle_interval_s = inf is not from 0.001 to 86400"),
        ("record.candle_interval_s=0", "record.candle_interval_s = 0.0 is not from"),
        ("record.snapshot_interval_s=inf", "record.snapshot_interval_s = inf is not from 0.001 to 31536000"),
        ("publish.snapshot_interval_s=inf", "publish.snapshot_interval_s = inf is not from 0.001 to"),
        ("publish.linger_s=inf", "publish.linger_s = inf is not from 0 to 86400"),
        ("publish.linger_s=-1", "publish.linger_s = -1.0 is not from 0 to 86400"),
        ("record.batch_age_s=nan", "record.batch_age_s = nan is not from 0 to 3600"),
        ("record.batch_age_s=-1", "record.batch_age_s = -1.0 is not from 0 to 3600"),
        ("record.flush_timeout_s=-5", "record.flush_timeout_s = -5.0 is not from 0 to 86400"),
        ("publish.high_water=1e11", "publish.high_water = 100000000000 is not from 1 to 2147483647"),
        ("publish.high_water=0", "publish.high_water = 0 is not from 1 to 2147483647"),
        ("record.writers=20000", "record.writers = 20000 is not from 1 to 8"),
        ("record.writers=0", "record.writers = 0 is not from 1 to 8"),
        ("record.buffer=0", "record.buffer = 0 is not from 1"),
        ("record.batch=-1", "record.batch = -1 is not from 1"),
        ('record.timeframes=["1m", "1m"]', "record.timeframes = ['1m', '1m'] names '1m' more than once"),
        ('record.timeframes=["1201mo"]', "record.timeframes: '1201mo' is longer than a century"),
        ("feed.simulated.rate=nan", "feed.simulated.rate = nan is not above 0"),
        ("feed.simulated.rate=inf", "feed.simulated.rate = inf is not above 0"),
        ("feed.simulated.volatility=nan", "feed.simulated.volatility = nan is not from 0 to 100"),
        ("feed.simulated.faults.gap=nan", "feed.simulated.faults.gap = nan is not a chance"),
        ("feed.simulated.faults.disconnect=nan", "feed.simulated.faults.disconnect = nan is not a chance"),
        ("feed.capture.speed=nan", "feed.capture.speed = 'nan'"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_could_be(option, says):
    with pytest.raises(ConfigError) as refused:
        loaded(option)
    assert says in str(refused.value)


@pytest.mark.parametrize(("key", "least", "most"), BOUNDS)
def test_both_bounds_themselves_can_be(key, least, most):
    assert value_of(key, f"{key}={least}") == least
    assert value_of(key, f"{key}={most}") == most


def test_the_defaults_can_be():
    assert {setting.origin for setting in loaded().settings} == {"default"}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("embedded", "embedded"),
        ("postgresql://h/db", "postgresql://h/db"),
        ("postgresql:///db?host=/run/pg", "postgresql:///db?host=/run/pg"),
        ("postgresql://me:secret@h:5432/db", "postgresql://me:***@h:5432/db"),
        ("postgresql://me:sec%40ret@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:s@secret@h/db", "postgresql://me:***@h/db"),
        ("postgresql://me:me@h/db", "postgresql://me:***@h/db"),
        ("postgresql://h/db?user=me&password=secret", "postgresql://h/db?user=me&password=***"),
        ("postgresql://h/db?password=secret&user=me", "postgresql://h/db?password=***&user=me"),
        ("postgresql://h/db?sslpassword=secret", "postgresql://h/db?sslpassword=***"),
        ("postgres://me:secret@h?password=secret", "postgres://me:***@h?password=***"),
    ],
)
def test_a_password_is_not_shown(url, shown):
    assert value_of("store.timescale.url", f"store.timescale.url={url}") == shown


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:secret@h/db",
        "postgresql://me:se/cret@h/db",
        "postgresql://me:se#cret@h/db",
        "postgresql://me:se?cret@h/db",
        "postgresql://me:se[cret@h/db",
        "postgresql://me:secret@h:port/db",
        "postgresql://me:secret@h:99999/db",
    ],
)
def test_an_address_that_is_none_is_refused_without_showing_its_password(url):
    with pytest.raises(ConfigError, match=r"store\.timescale\.url") as refused:
        loaded(f"store.timescale.url={url}")
    assert "cret" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "address", "password"),
    [
        ("postgresql://h/db", "postgresql://h/db", None),
        ("postgresql://me@h/db", "postgresql://me@h/db", None),
        ("postgresql://me:secret@h:5432/db", "postgresql://me@h:5432/db", "secret"),
        ("postgresql://me:p%40ss%3A@h/db", "postgresql://me@h/db", "p@ss:"),
        ("postgresql://me:a+b@h/db", "postgresql://me@h/db", "a+b"),
        ("postgresql:///db?host=/run/pg&password=p%40s", "postgresql:///db?host=/run/pg", "p@s"),
        ("postgresql://h/db?password=x&sslmode=require", "postgresql://h/db?sslmode=require", "x"),
        ("postgresql://me@h/db?password=x", "postgresql://me@h/db", "x"),
        ("postgresql://me:first@h/db?password=second", "postgresql://me@h/db", "first"),
    ],
)
def test_an_address_is_parted_from_its_password(url, address, password):
    assert part_password(url) == (address, password)


@pytest.mark.parametrize("url", ["s3:/bucket/ticks", "s3:bucket", "file:/srv/ticks"])
def test_an_archive_that_is_neither_a_folder_nor_a_url_is_refused(url):
    with pytest.raises(ConfigError, match=r"archive\.url = .* is neither a folder nor a URL"):
        load_config(None, {}, [f"archive.url={url}"])


@pytest.mark.parametrize("url", ["", "archive", "/srv/ticks", "~/ticks", "s3://bucket/ticks", "file:///srv"])
def test_an_archive_may_be_a_folder_or_a_url(url):
    assert load_config(None, {}, [f"archive.url={url}"]).config.archive.url == url


def test_the_secret_of_an_archive_is_not_shown():
    loaded = load_config(None, {}, ["archive.url=s3://key:hush@bucket/ticks"])
    shown = {setting.key: setting.value for setting in loaded.settings}
    assert shown["archive.url"] == "s3://key:***@bucket/ticks"
    assert loaded.config.archive.url == "s3://key:hush@bucket/ticks"


@pytest.mark.parametrize(
    "url",
    [
        "embedded", "valkey://h", "valkey://me:secret@h:6380/2", "valkeys://h/0", "redis://:secret@h",
        "rediss://h:1", "unix:///run/valkey.sock", "valkey://[::1]:6379/0",
    ],
)  # fmt: skip
def test_a_cache_may_be_at_any_valkey(url):
    assert loaded(f"cache.url={url}").config.cache.url == url


@pytest.mark.parametrize(
    "url",
    [
        "", "valkey", "localhost:6379", "http://h", "valkey://", "valkey://:secret@", "valkey://h:port",
        "valkey://me:se/cret@h:1x/0", "valkey://h/name", "unix://", "valkey://h:99999",
    ],
)  # fmt: skip
def test_what_is_no_address_of_a_cache_is_refused_without_showing_its_password(url):
    with pytest.raises(ConfigError, match=r"cache\.url is neither 'embedded' nor valkey://") as refused:
        loaded(f"cache.url={url}")
    assert "cret" not in str(refused.value)


def test_the_password_of_a_cache_is_not_shown():
    assert value_of("cache.url", "cache.url=valkey://me:secret@h:1/0") == "valkey://me:***@h:1/0"
    assert value_of("cache.url", "cache.url=redis://:secret@h") == "redis://:***@h"


@pytest.mark.parametrize("name", ["a b", "a:b", "x" * 65, "*", "\u00e9"])
def test_a_namespace_that_could_be_taken_for_another_is_refused(name):
    with pytest.raises(ConfigError, match=r"cache\.namespace = .* is not up to 64 letters"):
        loaded(f"cache.namespace={name}")
