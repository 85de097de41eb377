#!/usr/bin/env bash
# Sets up what building and testing heald needs, and says clearly what is missing if it cannot. Safe to run again and again.
set -euo pipefail

missing=0
say() { printf 'setup: %s\n' "$*" >&2; }
lack() { say "missing: $1"; say "    to fix: $2"; missing=1; }

# What else heald is built with needs a C compiler; plug-ins in C, JavaScript and Python, which the tests write and build, need
# these. Where WASI_SDK_PATH names a wasi-sdk, that is the clang that is used.
packages=()
command -v cc >/dev/null || packages+=(gcc libc6-dev)
command -v node >/dev/null || packages+=(nodejs)
command -v npm >/dev/null || packages+=(npm)
python3 -c 'import ensurepip, venv' 2>/dev/null || packages+=(python3 python3-venv)
if [ -z "${WASI_SDK_PATH:-}" ]; then
  command -v clang-22 >/dev/null || packages+=(clang-22)
  command -v wasm-ld-22 >/dev/null || packages+=(lld-22)
  [ -e /usr/lib/llvm-22/lib/clang/22/lib/wasi/libclang_rt.builtins-wasm32.a ] || packages+=(libclang-rt-22-dev-wasm32)
  [ -e /usr/lib/wasm32-wasi/libc.a ] || packages+=(wasi-libc)
fi
if ((${#packages[@]})); then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing ${packages[*]}"
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null ||
      lack "Debian packages ${packages[*]}" "apt-get install ${packages[*]}"
  else
    lack "the packages ${packages[*]}" "as root: apt-get install ${packages[*]}"
  fi
fi

if ! command -v cargo >/dev/null; then
  lack "cargo" "install Rust 1.95 with rustup, https://rustup.rs"
else
  # rust-toolchain.toml names the toolchain; where there is no rustup, whatever cargo there is must do.
  for target in wasm32-unknown-unknown wasm32-wasip2; do
    libdir=$(rustc --print target-libdir --target "$target" 2>/dev/null || true)
    if [ -z "$libdir" ] || ! compgen -G "$libdir/libstd-*.rlib" >/dev/null; then
      say "adding the target $target"
      timeout 120 rustup target add "$target" >/dev/null 2>&1 ||
        lack "Rust's standard library for $target" "rustup target add $target"
    fi
  done
  cargo fmt --version >/dev/null 2>&1 || lack "rustfmt" "rustup component add rustfmt"
  cargo clippy --version >/dev/null 2>&1 || lack "clippy" "rustup component add clippy"
fi

exit "$missing"
