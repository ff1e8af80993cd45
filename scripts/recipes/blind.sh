# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# ghcb_rs.ko with a fault in its judge, one of selftests/mutants: it does not know the difference of reading DR7, and so meets an
# answer of C's that it cannot explain.

bash "$(dirname "${BASH_SOURCE[0]}")/mutants.sh" "$1" judge-at-a-loss
