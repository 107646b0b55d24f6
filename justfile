# Every command there is. `./justw` brings `just` and what else is missing.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := env("CARGO_TARGET_DIR", justfile_directory() / "target")
detektor := target / "release/detektor"

# List the recipes.
default:
    @just --list --unsorted

# Turn the bundled driveway footage into events and show them on a web page.
demo *args: build
    @scripts/demo {{ detektor }} {{ args }}

# Make the release binary, target/release/detektor.
build:
    cargo build --release --bin detektor

# Everything that must hold: format, lints, licences, tests.
test: lint deny
    scripts/setup/packages test rtsp rabbitmq postgres
    for program in minio helm promtool; do scripts/setup/go-program $program >/dev/null; done
    scripts/setup/crds >/dev/null
    python3 -m unittest discover -b -s scripts/scaling
    ORT_DYLIB_PATH="$(scripts/fetch-onnxruntime)" cargo test --workspace

# Formatting and lints, warnings refused.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# Bans, licences and sources of the dependencies.
deny:
    cargo-deny --log-level error check bans licenses sources

# Format the code.
fmt:
    cargo fmt --all

# Write docs/settings.md, the reference of the roles' settings, from the code.
settings:
    DETEKTOR_WRITE_SETTINGS=1 cargo test --workspace --bin detektor the_page_of_settings

# Start RabbitMQ, Postgres and MinIO on loopback with everything in them that Detektor needs; prints the configuration file.
services-up: build _servers
    scripts/stack/services up "$PWD/data/services" --detektor {{ detektor }}

# Stop them.
services-down *args:
    scripts/stack/services down "$PWD/data/services" {{ args }}

# Two processes of each role beside the three servers, on the sample footage, with the page. `--until-done` ends by itself.
stack *args: build _servers
    scripts/stack/stack {{ detektor }} --footage samples/driveway.mov {{ args }}

# Kill, stop and cut off random parts of a whole stack: nothing may be lost, doubled or told.
chaos *args: build _servers
    scripts/setup/packages rtsp
    scripts/chaos/chaos.py {{ detektor }} --footage samples/driveway.mov {{ args }}

# Break one thing at a time in a whole stack, and say how long cameras did not get on. `--only TEXT` for some.
recovery *args: build _servers
    scripts/chaos/recovery.py {{ detektor }} --footage samples/driveway.mov {{ args }}

# 100 SIGTERMs of detect workers under full load: nothing delivered twice, nothing failed, each gone in time.
drain *args: build _servers
    scripts/chaos/drain.py {{ detektor }} --footage samples/driveway.mov {{ args }}

# How even the placement is that `detektor placement` sees; takes --config and the like.
placement-report *args: build
    {{ detektor }} placement --json {{ args }}

# Leases and merge locks under 50 workers with kills and clock jumps: no race, no deadlock.
locks *args: _servers
    cargo run --release -p detektor-backends --features test-support --example locks -- {{ args }}

# Ten queues against one: order, efficiency, and no traffic across.
partitions *args: _servers
    cargo run --release -p detektor-runtime --example partitions -- {{ args }}

# Every line of docs/specification.md on the cluster that KUBECONFIG names. `--only NAME` for some, `--help` for their names.
[positional-arguments]
spec *args:
    scripts/scaling/spec.sh "$@"

_servers:
    scripts/setup/packages rabbitmq postgres
    scripts/setup/go-program minio >/dev/null

# Kill `detektor run` 50 times at random moments: events, detections and ledger must be those of a calm run.
chaos-local *args: build
    scripts/chaos/local.py {{ detektor }} --longest 1.6 --camera a=samples/driveway.mov --camera b=samples/driveway.mov \
        --camera c=samples/driveway.mov --camera d=samples/driveway.mov {{ args }}

# Kill `detektor run` on a live RTSP camera: its ledger must close, and name every kill as a gap.
chaos-live *args: build
    scripts/setup/packages rtsp
    scripts/chaos/live.py {{ detektor }} {{ args }}

# Run the distributed parts in simulated time and network, once a seed, under faults. `--seeds N`, `--from N`; `--seed N` runs one again.
sim *args:
    cargo build --release -p detektor-sim
    {{ target }}/release/detektor-sim {{ args }}

# All benchmarks, as ratios in one run: decoding, slicing, engines, a busy and a quiet camera, the gate. `--only PART` for some.
bench *args: build
    cargo build --release -p detektor-detect --examples
    cargo build --release -p detektor-dispatcher --example slice
    ORT_DYLIB_PATH="$(scripts/fetch-onnxruntime)" scripts/bench/bench.py {{ target }}/release {{ args }}

# What it costs to be many processes: overhead against one, latency by stage, cost per camera. `--only PART` for some.
bench-distributed *args: build _servers
    ORT_DYLIB_PATH="$(scripts/fetch-onnxruntime)" scripts/bench/distributed.py {{ detektor }} --footage samples/driveway.mov {{ args }}

# Our way through RabbitMQ against a bare pipelined lapin loop. Takes messages and their bytes.
bench-broker *args: _servers
    cargo run --release -p detektor-backends --features test-support --example broker_path -- {{ args }}

# What slicing costs against `ffmpeg -c copy -f segment`.
bench-slicing *args:
    scripts/setup/packages test
    cargo build --release -p detektor-dispatcher --example slice
    scripts/bench/slicing.py {{ target }}/release/examples/slice {{ args }}

# Build the images `detektor` and `cameras` (or those named) and put them into the cluster; see scripts/cluster/README.md.
image *targets: build
    CARGO_TARGET_DIR={{ target }} scripts/cluster/image {{ targets }}

# Install everything into the cluster that KUBECONFIG names, and wait until it is ready. `--profile NAME`, `--cameras`, and what helm takes.
[positional-arguments]
cluster-install *args: build
    CARGO_TARGET_DIR={{ target }} scripts/cluster/install "$@"

# `helm test` and the suite scripts/scaling on that cluster; results go into docs/results/. `--only NAME` for some.
[positional-arguments]
cluster-test *args:
    scripts/cluster/test "$@"

# Remove it again, with all data. `--keep-data` leaves the servers.
cluster-uninstall *args:
    scripts/cluster/uninstall {{ args }}

# Fuzz one target of fuzz/ for a while: segment, bitstream, clip, write, wire, manifest or slicer. Needs `rustup toolchain install nightly`
# and `cargo install cargo-fuzz`.
fuzz target seconds="60":
    cargo +nightly fuzz run {{ if target =~ '^(manifest|slicer)$' { "--features " + target } else { "" } }} {{ target }} \
        -- -max_total_time={{ seconds }}

# Write what the chart knows of docs/settings.md, and what it renders, configs/k8s/rendered/ and keda/.
charts:
    scripts/setup/go-program helm >/dev/null
    DETEKTOR_WRITE_CHARTS=1 cargo test --workspace --test charts the_chart_renders

# Why there are as many detection pods as there are, in words; `--function merge` for merge. Takes any KUBECONFIG.
explain-scale *args: build
    {{ detektor }} explain-scale {{ args }}
