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
setup: tools build

# the pinned tools
tools: system
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-dev.txt

# build the extension and the helper into python/minidock (release)
build:
    maturin develop --release --quiet

# the same, with checks of overflow and the like, in half the time
build-dev:
    maturin develop --quiet

# format everything
fmt:
    cargo fmt
    ruff format python tests benches
    ruff check --fix --quiet python tests benches

# format and lint checks, types, stubs
lint: checks stubs

# what of that needs nothing built
checks:
    cargo fmt --check
    cargo clippy --quiet --all-targets --workspace -- -D warnings
    ruff format --check --quiet python tests benches
    ruff check --quiet python tests benches
    mypy

# the stubs are those of the built extension
stubs:
    python -m mypy.stubtest minidock._native

# the messages of BuildKit's API, from wire.proto
protos:
    cd python && python -m grpc_tools.protoc -I. --python_out=. --pyi_out=. minidock/server/buildkit/wire.proto

# Rust tests
test-rust:
    cargo test --quiet

# pytest, one folder of tests or more: `just pytest tests/unit -k size`
pytest *args:
    python -m pytest {{args}}

# everything, as CI runs it; the compiler goes on beside the build, of which half is one thread, and beside the tests.
# It leaves a build that is not for measuring: `just build` makes that again
test: tools
    #!/usr/bin/env bash
    set -euo pipefail
    mkdir -p target
    nice -n 19 bash -c 'just checks && cargo test --quiet --no-run' >target/checks.log 2>&1 &
    checks=$!
    just build-dev
    code=0
    python -m pytest -n 3 --dist loadscope --strict-skips tests || code=$?
    # pytest's summary is the last line where all is well.
    if ! { wait "$checks" && { just stubs && just test-rust; } >>target/checks.log 2>&1; }; then
        cat target/checks.log
        exit 1
    fi
    exit "$code"

# the repeated tests with their full counts (hours)
soak: setup
    MINIDOCK_SOAK=1 python -m pytest --timeout 7200 tests/security tests/faults tests/fuzz tests/integration

# the suites inside virtual machines, all of them or those named: `just vm debian13,debian12`
vm names="all": setup
    MINIDOCK_VM={{names}} MINIDOCK_VM_SECONDS=86400 python -m pytest -n {{num_cpus()}} --dist loadscope -rs tests/vm

# the benchmarks beside today's engines, into benches/RESULTS.md (needs the peers script, see benches/README.md)
bench *args: setup
    python -m benches {{args}}

# what of docker-py's suite passes with the peers' Docker (about five minutes)
record-docker-py:
    #!/usr/bin/env bash
    set -euo pipefail
    file=tests/compat/suites/docker_py_passes.txt
    mkdir -p target
    head -n 1 "$file" >target/passes
    python -m tests.compat.suites.docker_py docker | sed -n 's/^passed //p' >>target/passes
    mv target/passes "$file"

# what the peers' Docker answers to the table of the docker CLI's commands
record-docker-cli:
    mkdir -p target
    python -m tests.compat.suites.cli docker >target/answers.json
    mv target/answers.json tests/compat/suites/cli_answers.json

# pin the Python tools again
lock:
    pip install --quiet uv
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --group dev pyproject.toml -o requirements-dev.txt
    uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header -c requirements-dev.txt --group pyproject.toml:release -o requirements-release.txt

# fetch xterm.js for the page of `minidock ui` again, as tools/xterm.json has it
vendor *args:
    python tools/vendor.py {{args}}

# the pictures of docs/ui.md
screenshots:
    python -m tests.screenshots

# wheel for this machine alone and sdist into dist/
package:
    python -m build --outdir dist .

# the release's wheel into dist/, for every glibc from 2.28 on: `just wheel`, `just wheel aarch64`
wheel machine="x86_64": system
    [ {{machine}} = "$(uname -m)" ] || tools/install-packages
    [ -x .venv/bin/python ] || python3 -m venv .venv
    .venv/bin/python -m pip install --quiet --require-hashes -r requirements-release.txt
    maturin build --release --locked --zig --target {{machine}}-unknown-linux-gnu --compatibility manylinux_2_28 --auditwheel check --out dist

# the release's wheels in dist/ installed and run: by this machine's Pythons, in distributions, emulated (minutes)
installs: setup
    tools/install-packages
    MINIDOCK_WHEELS=dist python -m pytest -rs tests/packaging/test_installs.py
