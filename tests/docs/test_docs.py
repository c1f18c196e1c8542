"""The documentation says what is there: links, settings, commands, and the program of the tutorial."""

import json
import os
import re
import socket
import subprocess
import sys
import tomllib
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from binance_proxy.bridge.cli import app
from binance_proxy.bridge.config import Config
from binance_proxy.bridge.load import load_config
from pages import DOCS, ROOT, blocks

PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])
EXAMPLE = ROOT / "bridge.example.toml"
BRIDGE = Path(sys.executable).with_name("bridge")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith("BRIDGE__")}

_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_KEY_ROW = re.compile(r"^\| `([a-z_.]+)` \|", re.MULTILINE)
_COMMAND_HEADING = re.compile(r"^## bridge ([a-z]+)$", re.MULTILINE)
_SECTION = re.compile(r"\[([a-z_.]+)\]")
_EXAMPLE_KEY = re.compile(r"(?:# )?([a-z_]+) = .+")


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """Return what can stand behind the # of a link to the page."""
    headings = (heading.lower().replace("`", "") for heading in _HEADING.findall(prose(page)))
    return {re.sub(r"[^\w\- ]", "", heading).strip().replace(" ", "-") for heading in headings}


def commands(page: Path) -> list[str]:
    """Return the lines that a page tells to type, each continued line as one."""
    text = "".join(blocks(page, "sh"))
    return [line.split("    #")[0].strip() for line in re.sub(r"\\\n\s*", "", text).splitlines()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_resolve(page: Path) -> None:
    broken = []
    for link in _LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_in_the_overview() -> None:
    linked = {(DOCS / link.partition("#")[0]).resolve() for link in _LINK.findall(prose(DOCS / "README.md"))}
    assert {page for page in DOCS.rglob("*.md") if page != DOCS / "README.md"} == linked


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_begins_with_what_it_is_for(page: Path) -> None:
    title, empty, first, *_ = page.read_text(encoding="utf-8").splitlines()
    assert title.startswith("# ")
    assert not empty
    assert first.endswith((".", ":"))


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    """Every key that `bridge config` knows, with its default."""
    shown = subprocess.run(
        [BRIDGE, "config", "--json"], capture_output=True, check=True, env=CLEAN, cwd=DOCS, timeout=60
    )
    return {key: setting["value"] for key, setting in json.loads(shown.stdout).items()}


def test_the_reference_has_every_setting_and_no_other(settings: dict[str, object]) -> None:
    documented = _KEY_ROW.findall((DOCS / "reference/settings.md").read_text(encoding="utf-8"))
    assert documented == list(settings)


def test_the_reference_has_the_right_defaults(settings: dict[str, object]) -> None:
    rows = re.findall(
        r"^\| `([a-z_.]+)` \| [^|]+ \| ([^|]+) \|",
        (DOCS / "reference/settings.md").read_text(encoding="utf-8"),
        re.MULTILINE,
    )
    documented = {
        key: None if text == "none" else tomllib.loads(f"x = {text.strip('`')}")["x"] for key, text in rows
    }
    assert documented == settings


def example_keys() -> Iterator[str]:
    """Yield every key of the example, those that are commented out too."""
    prefix = ""
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        if section := _SECTION.fullmatch(line):
            prefix = f"{section[1]}."
        elif key := _EXAMPLE_KEY.fullmatch(line):
            yield prefix + key[1]


def test_the_example_has_every_setting_and_no_other(settings: dict[str, object]) -> None:
    assert sorted(example_keys()) == sorted(settings)


def test_the_example_loads_and_is_the_default() -> None:
    assert load_config(EXAMPLE, {}, []).config == Config()


def test_the_settings_that_the_example_leaves_out_load_too(tmp_path: Path) -> None:
    complete = tmp_path / "complete.toml"
    complete.write_text(
        re.sub(r"^# ([a-z_]+ = )", r"\1", EXAMPLE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    )
    origins = {setting.key: setting.origin for setting in load_config(complete, {}, []).settings}
    assert set(origins.values()) == {str(complete)}


@pytest.mark.parametrize("block", blocks(DOCS / "how-to/write-the-configuration.md", "toml"))
def test_the_examples_of_configuration_load(block: str, tmp_path: Path) -> None:
    file = tmp_path / "bridge.toml"
    file.write_text(block)
    load_config(file, {}, [])


def test_the_reference_has_every_command_and_no_other() -> None:
    documented = _COMMAND_HEADING.findall((DOCS / "reference/command-line.md").read_text(encoding="utf-8"))
    assert sorted(documented) == sorted(name for name in app if not name.startswith("-"))


def test_commands_on_the_pages_exist() -> None:
    known = {name for name in app if not name.startswith("-")}
    shown = {
        command
        for page in PAGES
        for block in blocks(page, "sh")
        for command in re.findall(r"uv run bridge ([a-z]+)", block)
    }
    assert shown <= known


def two_ports() -> tuple[int, int]:
    """Return two ports that were free a moment ago."""
    with socket.socket() as one, socket.socket() as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


@pytest.mark.parametrize(
    "faults",
    [{}, {"feed.simulated.rate": "200", "feed.simulated.faults.gap": "0.01"}],
    ids=["well", "faulty"],
)
def test_the_program_of_the_tutorial_follows_a_real_bridge(tmp_path: Path, faults: dict[str, str]) -> None:
    program = next(
        block for block in blocks(DOCS / "tutorials/first-bridge.md", "python") if "Follow the" in block
    )
    (tmp_path / "follow_book.py").write_text(program)
    json_port, msgpack_port = two_ports()
    address = f"tcp://127.0.0.1:{json_port}"
    options = {
        "data_dir": str(tmp_path / "var"),
        "publish.json.bind": address,
        "publish.msgpack.bind": f"tcp://127.0.0.1:{msgpack_port}",
        "serve.bind": "",
        "control.bind": "",
        "publish.snapshot_interval_s": "0.2",
        **faults,
    }
    given = [word for key, value in options.items() for word in ("-o", f"{key}={value}")]
    with (tmp_path / "bridge.log").open("wb") as log:
        bridge = subprocess.Popen(
            [BRIDGE, "run", "--duration", "60", *given], env=CLEAN, cwd=tmp_path, stdout=log, stderr=log
        )
        try:
            # The program waits 5 s for the welcome; a first start may take longer on a busy machine.
            _until_it_says("recording", bridge, tmp_path / "bridge.log")
            followed = subprocess.run(
                [sys.executable, "follow_book.py", address, "3"],
                capture_output=True,
                text=True,
                cwd=tmp_path,
                check=False,
                timeout=60,
            )
        finally:
            bridge.terminate()
            status = bridge.wait(60)
    assert followed.returncode == 0, followed.stdout + followed.stderr
    assert ", 0 holes" in followed.stdout
    assert status == 0, (tmp_path / "bridge.log").read_text()


def _until_it_says(word: str, bridge: subprocess.Popen[bytes], log: Path) -> None:
    seen = ""
    for _ in range(600):
        seen = log.read_text()
        if word in seen or bridge.poll() is not None:
            break
        try:
            bridge.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert word in seen, seen


def test_the_capture_of_the_tutorial_shows_its_gap(tmp_path: Path) -> None:
    shown = blocks(DOCS / "tutorials/first-bridge.md", "")
    capture = next(block for block in shown if "lastUpdateId" in block)
    (tmp_path / "small.txt").write_text(capture)
    json_port, msgpack_port = two_ports()
    run = subprocess.run(
        [
            *(BRIDGE, "run", "--feed", "capture", "--json", "-o", "store.use=memory"),
            *("-o", 'feed.capture.paths=["small.txt"]', "-o", "feed.capture.speed=max"),
            *("-o", f"publish.json.bind=tcp://127.0.0.1:{json_port}"),
            *("-o", f"publish.msgpack.bind=tcp://127.0.0.1:{msgpack_port}"),
            *("-o", "serve.bind=", "-o", "control.bind="),
        ],
        capture_output=True,
        check=True,
        env=CLEAN,
        cwd=tmp_path,
        timeout=60,
    )
    done = json.loads(run.stdout)
    assert (done["trades"], done["quotes"], done["applied"], done["gaps"]) == (2, 3, 2, 1)
    assert done["stored"] == 7


def test_settings_on_the_pages_exist(settings: dict[str, object]) -> None:
    shown = {
        key
        for page in PAGES
        for block in blocks(page, "sh")
        for key in re.findall(r"-o ['\"]?([a-z_.]+)=", block)
    }
    assert shown <= set(settings)


def test_the_code_that_explanations_name_is_there() -> None:
    sources = [
        path for folder in ("packages", "apps") for path in (ROOT / folder).glob("*/src/binance_proxy")
    ]
    named = re.findall(
        r"`([a-z_/]+\.py)`((?:,? (?:and )?`[A-Z]?\w+(?:\.\w+)?`)*)",
        "".join(page.read_text(encoding="utf-8") for page in (DOCS / "explanation").glob("*.md")),
    )
    assert named
    for path, names in named:
        files = [one for source in sources for one in (source / path, source / "adapters/binance" / path)]
        file = next((one for one in files if one.is_file()), None)
        assert file is not None, path
        for name in re.findall(r"[\w]+", names):
            if name != "and":
                assert re.search(rf"(?:def|class) {name}\b|^{name}\b", file.read_text(), re.MULTILINE), (
                    path,
                    name,
                )


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Run the sandbox of the pages, on a port of its own, which is what is yielded."""
    folder, (port, _) = tmp_path_factory.mktemp("sandbox"), two_ports()
    with (folder / "sandbox.log").open("wb") as log:
        venue = subprocess.Popen(
            [BRIDGE, "sandbox", "-o", f"sandbox.port={port}"], env=CLEAN, cwd=folder, stdout=log, stderr=log
        )
        try:
            _until_it_says("stop", venue, folder / "sandbox.log")
            yield port
        finally:
            venue.terminate()
            venue.wait(60)


def test_the_twin_of_the_readme_is_recorded_as_made_up(sandbox: int, tmp_path: Path) -> None:
    live, twin = (
        next(line for line in commands(ROOT / "README.md") if re.fullmatch(pattern, line))
        for pattern in (r"uv run bridge run --feed ccxt", r"uv run bridge run --feed ccxt .*_url=.*")
    )
    assert twin.startswith(live)
    differs = dict(option.split("=") for option in twin.removeprefix(live).replace(" -o ", " ").split())
    assert set(differs) == {"feed.ccxt.rest_url", "feed.ccxt.stream_url"}
    json_port, msgpack_port = two_ports()
    done = subprocess.run(
        [
            *(BRIDGE, *twin.replace("127.0.0.1:9080", f"127.0.0.1:{sandbox}").split()[3:], "--json"),
            *("--duration", "10", "-o", f"publish.json.bind=tcp://127.0.0.1:{json_port}"),
            *("-o", f"publish.msgpack.bind=tcp://127.0.0.1:{msgpack_port}"),
            *("-o", "serve.bind=", "-o", "control.bind="),
        ],
        capture_output=True,
        check=True,
        env=CLEAN,
        cwd=tmp_path,
        timeout=120,
    )
    report = json.loads(done.stdout)
    assert report["trades"] > 0
    assert report["applied"] > 0
    pairs = subprocess.run(
        [BRIDGE, "pairs"], capture_output=True, check=True, env=CLEAN, cwd=tmp_path, timeout=60
    )
    assert b"simulated" in pairs.stdout
    assert b"binance" not in pairs.stdout


def test_the_faults_on_the_pages_can_be_ordered(sandbox: int) -> None:
    orders = {
        order
        for page in PAGES
        for line in commands(page)
        for order in re.findall(r"-X POST http://127\.0\.0\.1:9080/sandbox/faults -d '([^']+)'", line)
    }
    assert len(orders) >= 5
    for order in orders:
        request = urllib.request.Request(
            f"http://127.0.0.1:{sandbox}/sandbox/faults", data=order.encode(), method="POST"
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200


def test_nothing_names_a_place_of_one_machine() -> None:
    for page in [*PAGES, EXAMPLE]:
        assert not re.search(r"/(?:work|tmp|home|root|Users)/", page.read_text(encoding="utf-8")), page
