#!/usr/bin/env bash
# Builds and runs one fuzz target, with the stable toolchain and a C++ compiler:
#
#     tests/fuzz/run.sh TARGET [libFuzzer's arguments, such as -max_total_time=60, or a file to try again]
#
# TARGET: load, schema, metadata, configuration, answers; or `build`, which builds them, writes the seeds and runs none.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

target=${1:?usage: run.sh TARGET [ARGUMENTS...]}
shift
for needed in cc c++; do
  command -v "$needed" >/dev/null || { echo "run.sh: $needed is missing; apt-get install g++" >&2; exit 1; }
done

# A target directory of their own, always: crates with counters in them must not be taken for the usual ones.
export CARGO_TARGET_DIR=${HEALD_FUZZ_TARGET_DIR:-$here/target}
export RUSTC_WRAPPER=$here/rustc.sh HEALD_FUZZ_SILENT=$CARGO_TARGET_DIR/silent.o
mkdir -p "$CARGO_TARGET_DIR"
cc -c -O1 -o "$HEALD_FUZZ_SILENT" "$here/silent.c"
# From here, so that rustup takes the toolchain that the project names.
(cd "$here" && cargo build --locked --bins)
"$CARGO_TARGET_DIR/debug/corpus" "$CARGO_TARGET_DIR/debug/guests"
if [ "$target" = build ]; then exit; fi

artifacts=$here/artifacts/$target
mkdir -p "$artifacts"
arguments=(-artifact_prefix="$artifacts/" -timeout=20 -rss_limit_mb=4096)
if [ -e "$here/dictionaries/$target.dict" ]; then arguments+=(-dict="$here/dictionaries/$target.dict"); fi
for argument; do
  # A file is tried by itself; without one the run goes on from the seeds.
  if [ -f "$argument" ]; then exec "$CARGO_TARGET_DIR/debug/$target" "${arguments[@]}" "$@"; fi
done
exec "$CARGO_TARGET_DIR/debug/$target" "${arguments[@]}" "$@" "$here/corpus/$target"
