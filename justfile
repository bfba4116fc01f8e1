# Every step of the project is a recipe here. `just` lists them; `just test` is what CI runs.
set shell := ["bash", "-euo", "pipefail", "-c"]

venv := justfile_directory() / ".venv"
export VIRTUAL_ENV := venv
export PATH := venv / "bin:" + env("PATH")
# Real registries, engines and kernels as peers live here, outside the repository.
export MINIDOCK_TEST_ALONE := env("MINIDOCK_TEST_ALONE", "1")

# list the recipes
default:
    @just --list

# what the machine needs (Debian): a C linker for Rust, the packages that test images are made from
system:
    tools/system-packages

# the development environment: pinned tools, the package built in place
setup: system
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.txt
    just build

# build the extension and the helper into python/minidock (release)
build:
    maturin develop --release --quiet

# format everything
fmt:
    cargo fmt
    ruff format python tests benches
    ruff check --fix --quiet python tests benches

# format and lint checks, types, stubs
lint:
    cargo fmt --check
    cargo clippy --quiet --all-targets --workspace -- -D warnings
    ruff format --check --quiet python tests benches
    ruff check --quiet python tests benches
    mypy
    python -m mypy.stubtest minidock._native

# Rust tests
test-rust:
    cargo test --quiet

# pytest, one folder of tests or more: `just pytest tests/unit -k size`
pytest *args:
    python -m pytest {{args}}

# everything, as CI runs it; the compiler goes on beside pytest, which mostly waits
test: setup
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target
    nice -n 19 bash -c 'just lint && cargo test --quiet --no-run' >target/checks.log 2>&1 &
    checks=$!
    code=0
    python -m pytest --strict-skips tests || code=$?
    # pytest's summary is the last line where all is well.
    if ! { wait "$checks" && just test-rust >>target/checks.log 2>&1; }; then
        cat target/checks.log
        exit 1
    fi
    exit "$code"

# the repeated tests with their full counts (hours)
soak: setup
    MINIDOCK_SOAK=1 python -m pytest --timeout 7200 tests/security tests/faults tests/fuzz tests/integration

# the benchmarks beside today's engines, into benches/RESULTS.md (needs the peers script, see benches/README.md)
bench *args: setup
    python -m benches {{args}}

# pin the Python tools again
lock:
    pip install --quiet uv
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements-dev.txt

# wheel and sdist into dist/
package:
    python -m build --outdir dist .
