# List what can be done
default:
    @just --list --unsorted

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
    uv run mypy packages/domain/src packages/application/src packages/adapters/src apps/bridge/src
    uv run lint-imports

# Run the tests; arguments go to pytest, such as `just test tests/unit -k book`
test *args:
    uv run pytest {{ args }}

# Compare our speed with bare loops of the same libraries, side by side
bench *args:
    uv run python tests/bench/run.py {{ args }}

# Check that the examples in the docs are what the programs print
docs:
    uv run pytest tests/docs

# Run a bridge: `just run -o feed.use=capture ...`
run *args:
    uv run bridge run {{ args }}

# Start a bridge in the background, with its log in var/bridge.log
up *args:
    @mkdir -p var
    @if [ -f var/bridge.pid ] && kill -0 "$(cat var/bridge.pid)" 2>/dev/null; then echo "already up, pid $(cat var/bridge.pid)"; exit 1; fi
    @nohup uv run bridge run --log-format json {{ args }} > var/bridge.log 2>&1 & echo $! > var/bridge.pid
    @echo "bridge is starting; its log is var/bridge.log, and 'just down' stops it"

# Stop the bridge that `just up` started, after it has stored everything
down:
    @kill -TERM "$(cat var/bridge.pid)" && while kill -0 "$(cat var/bridge.pid)" 2>/dev/null; do sleep 0.1; done
    @rm var/bridge.pid && tail -n 3 var/bridge.log

# Follow the log of the bridge that `just up` started
logs:
    @tail -f var/bridge.log

# Try a new database against this schema: applies all migrations to the configured store
migrate *args:
    uv run bridge migrate {{ args }}
