#!/usr/bin/env bash
# Makes the C bindings anew, after wit/ has changed. Needs `cargo install wit-bindgen-cli@0.61.1 --locked`.
set -euo pipefail
cd "$(dirname "$0")"
contract=../../../wit
digest=$(sha256sum "$contract/plugin.wit" | cut -d' ' -f1)
for role in detector policy action; do
  wit-bindgen c "$contract" --world "$role" --out-dir "$role/gen"
  # A test compares this line with the contract.
  sed -i "1i // Of the contract with SHA-256 $digest" "$role/gen/$role.h"
done
