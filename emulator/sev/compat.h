/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Include what is in one place in QEMU 10.0 and in another in its successors.
 */
#ifndef I386_TCG_SEV_COMPAT_H
#define I386_TCG_SEV_COMPAT_H

#include "cpu.h"
#if __has_include("accel/tcg/probe.h")
#include "accel/tcg/cpu-ldst.h"
#include "accel/tcg/probe.h"
#include "exec/tlb-flags.h"
#define SEV_CONST const
#else
#include "exec/cpu_ldst.h"
#include "exec/exec-all.h"
#define SEV_CONST
#endif
#if __has_include("system/memory.h")
#include "system/address-spaces.h"
#include "system/memory.h"
#else
#include "exec/address-spaces.h"
#include "exec/memory.h"
#endif
#include "exec/helper-proto.h"
#include "exec/cputlb.h"
#include "exec/target_page.h"
#include "tcg/helper-tcg.h"

#endif
