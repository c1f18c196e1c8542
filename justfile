# Shell: whether a pid is that of a running bridge, and not of what came after it
is_bridge := '''is_bridge() { [[ "$({ tr '\0' ' ' </proc/"$1"/cmdline || ps -o args= -p "$1"; } 2>/dev/null)" == *"bridge run"* ]]; }'''

# List what can be done
default:
    @{{ just_executable() }} --list --unsorted

# Install everything into .venv, and the commit hook
setup:
    uv sync
    uv run pre-commit install

# Write the code as the formatter would
format:
    uv run ruff format
    uv run ruff check --fix

# Check format, rules, types and the import contracts
lint:
    uv run ruff format --check
    uv run ruff check
    uv run mypy packages/domain/src packages/application/src packages/adapters/src packages/client/src apps/bridge/src apps/sandbox/src
    uv run lint-imports

# Run the tests; arguments go to pytest, such as `just test tests/unit -k book`
test *args:
    uv run pytest --numprocesses auto --dist loadfile --no-loadscope-reorder {{ args }}

# Compare our speed with bare loops of the same libraries, side by side
bench *args:
    uv run python tests/bench/run.py {{ args }}

# Check that the examples in the docs are what the programs print
docs:
    uv run pytest tests/docs

# Run a bridge: `just run -o feed.use=capture ...`
run *args:
    uv run bridge run {{ args }}

# Start a bridge in the background, with its log in var/bridge.log; arguments go to `bridge run`
[positional-arguments, no-exit-message]
start *args:
    #!/usr/bin/env bash
    set -euo pipefail
    {{ is_bridge }}
    mkdir -p var
    pid=$(cat var/bridge.pid 2>/dev/null || true)
    if [[ -n "$pid" ]] && is_bridge "$pid"; then
        echo "already up, pid $pid"
        exit 1
    fi
    uv sync --quiet
    nohup .venv/bin/bridge run --log-format json "$@" >var/bridge.log 2>&1 </dev/null &
    pid=$!
    echo "$pid" >var/bridge.pid
    for _ in {1..600}; do
        if grep -q '^publishing' var/bridge.log; then
            echo "up, pid $pid; its log is var/bridge.log, and 'just stop' stops it"
            exit 0
        fi
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f var/bridge.pid
            tail -n 5 var/bridge.log
            echo "the bridge did not start"
            exit 1
        fi
        sleep 0.1
    done
    tail -n 5 var/bridge.log
    echo "pid $pid does not publish yet; 'just tail' shows what it does, and 'just stop' stops it"
    exit 1

# Stop the bridge that `just start` started, after it has stored everything
stop:
    #!/usr/bin/env bash
    set -euo pipefail
    {{ is_bridge }}
    pid=$(cat var/bridge.pid 2>/dev/null || true)
    if [[ -z "$pid" ]] || ! is_bridge "$pid"; then
        rm -f var/bridge.pid
        echo "no bridge is up"
        exit 0
    fi
    kill -TERM "$pid" 2>/dev/null || true
    while is_bridge "$pid"; do sleep 0.1; done
    rm -f var/bridge.pid
    tail -n 3 var/bridge.log

# Follow the log of the bridge that `just start` started
[no-exit-message]
tail:
    #!/usr/bin/env bash
    set -euo pipefail
    if [[ ! -f var/bridge.log ]]; then
        echo "there is no var/bridge.log yet: 'just start' starts a bridge"
        exit 1
    fi
    exec tail -n 20 -f var/bridge.log

# Build and start a bridge, its database and a cache in containers, in the background
[no-exit-message]
up:
    @{{ just_executable() }} compose up --detach --build
    @echo "up; 'just logs' shows what they say, and 'just down' stops them"

# Stop the containers, the bridge first, after it has stored everything; the volumes stay
[no-exit-message]
down:
    @{{ just_executable() }} compose stop bridge
    @{{ just_executable() }} compose logs --tail 4 bridge
    @{{ just_executable() }} compose down

# Follow what the containers say: `just logs bridge`
[no-exit-message]
logs *args:
    @{{ just_executable() }} compose logs --follow --tail 20 {{ args }}

# Hand arguments to podman compose or docker compose, whichever is there: `just compose ps`
[positional-arguments, no-exit-message]
compose *args:
    #!/usr/bin/env bash
    set -euo pipefail
    for compose in "podman compose" podman-compose "docker compose"; do
        if $compose version >/dev/null 2>&1; then
            exec $compose "$@"
        fi
    done
    echo "there is neither podman compose nor docker compose here: install one of them, and try again" >&2
    exit 1

# Try a new database against this schema: applies all migrations to the configured store
migrate *args:
    uv run bridge migrate {{ args }}

# Ten minutes of every fault that a venue can have, checked at every update: `just storm --feed ccxt --seed 2`
storm *args:
    uv run python tests/storm/run.py {{ args }}

# Five million events into a store that everything happens to, of which none may be missing: `just storm-store --seed 2`
storm-store *args:
    uv run python tests/storm/store.py {{ args }}

# Clients and requests while links are cut, and workers, cache, database and bridge are killed: `just storm-requests cut`
storm-requests *args:
    uv run python tests/storm/requests.py {{ args }}

# Five million messages through each live feed, whose memory must stay flat
soak *args:
    uv run python tests/storm/soak.py {{ args }}

# A million frames of nonsense at the front and its workers, whose memory must stay flat: `just fuzz --seed 2`
fuzz *args:
    uv run python tests/storm/fuzz.py {{ args }}

# Kill a spool and an archive run at every call by which they write, sync or rename: what was there is there once
kill-points:
    uv run python tests/integration/spool/kill_points.py
    uv run python tests/integration/parquet/kill_points.py
