# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# What `make bench` runs on the emulated host: a guest and its VMM, and a handler that does nothing.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

work_copy
CARGO_TARGET_DIR=/cache/target/bench /cache/work/benches/emulated/build "$1"

mkdir -p source/benches/floor source/kvm
cp /checkout/benches/floor/{Kbuild,*.rs,*.h} source/benches/floor/
cp /checkout/kvm/{bindings,relocation}.rs source/kvm/
/cache/kernel/make M="$PWD/source/benches/floor" modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/benches/floor/ghcb_floor.ko
mv source/benches/floor/ghcb_floor.ko .
rm -r source
