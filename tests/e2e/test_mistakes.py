"""A mistake gets one clear sentence and a status that says whose it is: 2 is the user's, 1 the world's."""

import json
import shlex
import socket
import subprocess

import pytest

import captured
from bridge_process import Bridge, capture_options


@pytest.fixture
def bridge(tmp_path):
    return Bridge(tmp_path / "var")


def complaint(bridge, command, *arguments, status):
    """Return the one sentence that a command fails with."""
    done = bridge.complete(command, *arguments)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    lines = done.stderr.strip().splitlines()
    assert "Traceback" not in done.stderr
    assert lines[-1].startswith("bridge: "), lines
    return lines[-1]


@pytest.mark.parametrize(
    ("option", "says"),
    [
        ("feed.capture.pths=[]", "feed.capture.pths (-o) is no setting; did you mean feed.capture.paths?"),
        ("store.use=oracle", "store.use = 'oracle'"),
        ("feed.capture.speed=fast", "feed.capture.speed = 'fast'"),
        ("record.timeframes=['7 minutes']", "record.timeframes"),
        ("feed.simulated.rate=-1", "feed.simulated"),
        ("record.writers=0", "record.writers = 0"),
        ("record.candle_interval_s=nan", "record.candle_interval_s = nan is not from 0.001 to 86400"),
        ("record.timeframes=['1m', '1m']", "names '1m' more than once"),
        ("publish.json.bind=tcp://0.0.0.0:5555", "publish.insecure"),
        ("publish.json.bind=5555", "publish.json.bind"),
        (
            "serve.bind=tcp://0.0.0.0:5557",
            "for anyone to ask: bind to 127.0.0.1, or set serve.insecure = true",
        ),
        (
            "control.bind=tcp://[::]:5558",
            "for anyone to ask: bind to 127.0.0.1, or set control.insecure = true",
        ),
        ("control.bind=here", "control.bind = 'here' is not an address"),
        ("serve.workers=0", "serve.workers = 0 is not from 1 to 64"),
        ("store.timescale.url=mysql://x", "store.timescale.url"),
        ("no equals sign", "key=value"),
    ],
)
def test_a_wrong_setting_fails_before_anything_is_opened(tmp_path, option, says):
    bridge = Bridge(tmp_path / "var", option)
    assert says in complaint(bridge, "run", status=2)
    assert not bridge.data_dir.exists()


def test_a_wrong_setting_in_the_environment_names_its_variable(tmp_path, bridge, monkeypatch):
    monkeypatch.setenv("BRIDGE__STORE__USED", "memory")
    assert "store.used (BRIDGE__STORE__USED)" in complaint(bridge, "run", status=2)


def test_a_broken_configuration_file_is_named(tmp_path, bridge):
    file = tmp_path / "mine.toml"
    file.write_text("feed = = 1")
    assert "mine.toml is not TOML" in complaint(bridge, "run", "--config", str(file), status=2)
    assert "cannot read the configuration" in complaint(
        bridge, "run", "--config", str(tmp_path / "no"), status=2
    )


def test_the_origin_of_each_value_can_be_seen(tmp_path, monkeypatch):
    file = tmp_path / "mine.toml"
    file.write_text('[feed.capture]\nspeed = "10x"\n[publish]\nhigh_water = 5\n')
    monkeypatch.setenv("BRIDGE__PUBLISH__HIGH_WATER", "6")
    bridge = Bridge(tmp_path / "var", "record.writers=3")
    settings = json.loads(bridge("config", "--config", str(file), "--json"))
    assert settings["feed.capture.speed"] == {"value": "10x", "origin": str(file)}
    assert settings["publish.high_water"] == {"value": 6, "origin": "BRIDGE__PUBLISH__HIGH_WATER"}
    assert settings["record.writers"] == {"value": 3, "origin": "-o"}
    assert settings["store.use"] == {"value": "timescale", "origin": "default"}


def test_a_port_in_use_is_named(bridge):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(bridge.json.rpartition(":")[2])))
        taken.listen()
        assert f"cannot publish on {bridge.json}" in complaint(bridge, "run", status=1)


def test_a_capture_that_is_not_there_is_named(tmp_path):
    bridge = Bridge(tmp_path / "var", *capture_options(tmp_path / "no.gz"))
    assert "no.gz" in complaint(bridge, "run", status=1)


def test_a_data_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    bridge = Bridge(tmp_path / "file" / "var")
    assert str(tmp_path / "file") in complaint(bridge, "run", status=1)


def test_a_database_of_a_newer_schema_is_left_alone(bridge):
    bridge("migrate")
    bridge.query("update alembic_version set version_num = '9999'")
    assert "newer" in complaint(bridge, "run", status=1)


def test_a_password_is_not_shown(tmp_path):
    # A run waits for a database that is away (test_outages.py); a question does not.
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"postgresql://me:secret@127.0.0.1:{nobody.getsockname()[1]}/ticks"
        other = Bridge(tmp_path / "other", f"store.timescale.url={url}")
        said = complaint(other, "pairs", status=1)
    assert "secret" not in said
    shown = json.loads(other("config", "--json"))["store.timescale.url"]["value"]
    assert "secret" not in shown


def test_candles_of_more_time_than_there_was_are_all_that_there_are(tmp_path):
    capture = captured.write(tmp_path / "a.gz", captured.session(200))
    bridge = Bridge.ready(tmp_path / "var", *capture_options(capture))
    bridge("run")
    for arguments in (("1000mo",), ("1mo", "--limit", "100000"), ("1mo", "--end", "9999-12-31T00:00:00Z")):
        assert len(bridge.ask("candles", "BTC/USDT", *arguments)) == 1, arguments


def test_a_pair_that_was_never_recorded_is_named(bridge):
    assert "XYZ/USDT was never recorded" in complaint(bridge, "trades", "XYZ/USDT", status=1)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("trades", "ETH/USDT", "--start", "2024-08-08T23:55:00"), "no time zone"),
        (("trades", "ETH/USDT", "--start", "yesterday"), "is not a time"),
        (("candles", "ETH/USDT", "7x"), "'7x' is no timeframe"),
        (("candles", "ETH/USDT", "9999mo"), "longer than a century"),
        (("candles", "ETH/USDT", "--start", "9999-01-01T00:00:00Z"), "lies behind all that can be stored"),
        (
            ("trades", "ETH/USDT", "--start", "2024-08-09T00:00:00Z", "--end", "2024-08-08T00:00:00Z"),
            "before",
        ),
        (("trades",), "pair"),
        (("trade", "ETH/USDT"), "trade"),
        (("run", "--durration", "1"), "durration"),
    ],
)
def test_bad_usage_has_status_2(bridge, arguments, says):
    done = bridge.complete(*arguments)
    assert done.returncode == 2, done.stderr
    assert says.lower() in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stderr
    assert not bridge.data_dir.exists()


def test_check_says_what_is_right_and_what_is_wrong(bridge):
    assert bridge("check").count("ok") == 8
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", int(bridge.json.rpartition(":")[2])))
        taken.listen()
        done = bridge.complete("check")
    assert done.returncode == 1
    assert "wrong" in done.stdout
    assert bridge.json in done.stdout


def test_a_reader_that_has_enough_is_no_error(tmp_path):
    capture = captured.write(tmp_path / "a.gz", captured.session(2_000))
    bridge = Bridge.ready(tmp_path / "var", *capture_options(capture))
    bridge("run")
    line = shlex.join(bridge._line("trades", ("BTC/USDT", "--limit", "0"))) + " | head -n 2"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {line}"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode == 0


def test_every_command_explains_itself(bridge):
    commands = (
        "run",
        "check",
        "migrate",
        "psql",
        "pairs",
        "trades",
        "candles",
        "book",
        "gaps",
        "watch",
        "config",
    )
    overview = subprocess.run([bridge._line("x", ())[0], "--help"], capture_output=True, text=True).stdout
    for command in commands:
        assert command in overview
        shown = subprocess.run([bridge._line("x", ())[0], command, "--help"], capture_output=True, text=True)
        assert shown.returncode == 0
        assert "Example: bridge" in shown.stdout.replace("\n", " "), shown.stdout
