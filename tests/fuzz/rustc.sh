#!/usr/bin/env bash
# Stands between cargo and rustc: heald's own crates, and the targets, get the counters that lead the fuzzer. Their dependencies do
# not: what they are is not in question here, and counters would make compiling guests several times slower.
set -euo pipefail

rustc=$1
shift
name=
for ((at = 1; at <= $#; at++)); do
  if [ "${!at}" = --crate-name ]; then
    next=$((at + 1))
    name=${!next}
  fi
done

case $name in
  heald | heald_host | heald_engine | heald_model | heald_fuzz | load | schema | metadata | configuration | answers)
    exec "$rustc" "$@" --cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 \
      -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-trace-compares \
      -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
    ;;
  # These have instrumented crates in them and no fuzzer.
  build_script_build | corpus) exec "$rustc" "$@" -Clink-arg="$HEALD_FUZZ_SILENT" ;;
  *) exec "$rustc" "$@" ;;
esac
