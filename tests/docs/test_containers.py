"""The containers are as the pages say: pinned, on loopback, with settings and recipes that exist."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from binance_proxy.bridge.config import Config
from binance_proxy.bridge.load import load_config

ROOT = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
CONTAINERFILE = (ROOT / "Containerfile").read_text(encoding="utf-8")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])

_DEFAULT = re.compile(r"\$\{\w+:-([^}]*)\}")
_PINNED = re.compile(r"[a-z.]+(?:/[a-z-]+)+:\d[\w.-]*")
_ENV = re.compile(r"(BRIDGE__\w+)=(\S+)")


def environment(service: str) -> dict[str, str]:
    """Return the variables of a service, as they are where nobody set any."""
    return {name: _DEFAULT.sub(r"\1", value) for name, value in SERVICES[service]["environment"].items()}


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """The configuration of the bridge in its container."""
    nothing = tmp_path / "bridge.toml"
    nothing.touch()
    return load_config(nothing, {**dict(_ENV.findall(CONTAINERFILE)), **environment("bridge")}, []).config


def test_each_variable_is_a_setting_that_loads(config: Config) -> None:
    given = {**dict(_ENV.findall(CONTAINERFILE)), **environment("bridge")}
    assert all(name.startswith("BRIDGE__") for name in given)
    assert config != Config()


def test_the_bridge_stores_in_the_database_beside_it(config: Config) -> None:
    url, server = urlsplit(config.store.timescale.url), environment("timescaledb")
    assert url.hostname in SERVICES
    assert (url.username, url.password, url.path) == (
        server["POSTGRES_USER"],
        server["POSTGRES_PASSWORD"],
        "/" + server["POSTGRES_DB"],
    )


def test_the_password_is_asked_for_by_one_name() -> None:
    named = set(re.findall(r"\$\{(\w+)", (ROOT / "compose.yaml").read_text(encoding="utf-8")))
    assert named == {"TICKS_PASSWORD"}
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


def test_images_are_pinned() -> None:
    images = [service["image"] for service in SERVICES.values() if "image" in service]
    images += re.findall(r"^FROM (\S+)|--from=(?=\S*/)(\S+)", CONTAINERFILE, re.MULTILINE)
    flat = ["".join(image) for image in images]
    assert len(flat) == 5
    for image in flat:
        assert _PINNED.fullmatch(image), image


def test_only_the_bridge_is_published_and_on_loopback(config: Config) -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    ends = (config.publish.json, config.publish.msgpack, config.serve, config.control)
    binds = [urlsplit(end.bind) for end in ends]
    assert published == {"bridge": [f"127.0.0.1:{bind.port}:{bind.port}" for bind in binds]}
    assert {bind.hostname for bind in binds} == {"0.0.0.0"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_looks_after_itself(name: str) -> None:
    service = SERVICES[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert service["restart"] == "unless-stopped"
    assert "depends_on" not in service
    volumes = [volume.partition(":")[0] for volume in service["volumes"]]
    assert volumes == [name]
    assert name in COMPOSE["volumes"]


def test_a_stop_is_long_enough_to_store_everything(config: Config) -> None:
    minutes = int(SERVICES["bridge"]["stop_grace_period"].removesuffix("m"))
    assert minutes * 60 > config.record.flush_timeout_s + config.publish.linger_s


def test_the_image_runs_the_bridge_itself_and_not_as_root() -> None:
    last = CONTAINERFILE.rpartition("FROM ")[2]
    assert re.search(r"^USER bridge$", last, re.MULTILINE)
    assert re.search(r'^ENTRYPOINT \["bridge"\]\nCMD \["run"\]$', last, re.MULTILINE)
    assert re.search(r"^STOPSIGNAL SIGTERM$", last, re.MULTILINE)
    assert all("--frozen" in line for line in CONTAINERFILE.splitlines() if "uv sync" in line)


def test_the_volume_of_the_bridge_is_its_data_dir(config: Config) -> None:
    assert SERVICES["bridge"]["volumes"] == [f"bridge:{config.data_dir}"]
    assert f"VOLUME {config.data_dir}\n" in CONTAINERFILE


def test_the_image_gets_what_it_copies_and_nothing_else() -> None:
    allowed = re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE)
    copied = [
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", CONTAINERFILE, re.MULTILINE)
        for word in line.split()[:-1]
    ]
    assert sorted(allowed) == sorted(copied)


def test_recipes_that_are_named_exist() -> None:
    just = Path(sys.executable).with_name("just")
    listed = subprocess.run(
        [just, "--summary"], capture_output=True, check=True, text=True, cwd=ROOT, timeout=60
    )
    texts = [path.read_text(encoding="utf-8") for path in [*PAGES, ROOT / "justfile", ROOT / "compose.yaml"]]
    named = {
        name for text in texts for name in re.findall(r"(?:uv run |[`'])just ([a-z-]+)", text + CONTAINERFILE)
    }
    assert {"up", "down", "logs", "start", "stop", "tail"} <= named
    assert named <= set(listed.stdout.split())
