# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# A handler that does nothing, which others are measured against.

# shellcheck source=scripts/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
cd "$1"

mkdir -p source/benches/floor source/kvm
cp /checkout/benches/floor/{Kbuild,*.rs,*.h} source/benches/floor/
cp /checkout/kvm/{bindings,relocation}.rs source/kvm/
/cache/kernel/make M="$PWD/source/benches/floor" modules
/cache/kernel/build/tools/objtool/objtool klp post-link source/benches/floor/ghcb_floor.ko
mv source/benches/floor/ghcb_floor.ko .
rm -r source
