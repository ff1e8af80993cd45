/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Exit codes and offsets in a VMCB (APM volume 2) that QEMU's svm.h has no name
 * for.
 */
#ifndef I386_TCG_SEV_VMCB_H
#define I386_TCG_SEV_VMCB_H

#define SVM_EXIT_CR15_WRITE_TRAP 0x9f
#define SVM_EXIT_VMGEXIT        0x403
#define EXCP_VC                 29
#define SVM_GUEST_INTERRUPT_MASK 2      /* int_state */

/* Control area, in bytes */
#define VMCB_GHCB_GPA           0x0a0
#define VMCB_NEXT_RIP           0x0c8
#define VMCB_INSN_LEN           0x0d0   /* one byte, then up to 15 */
#define VMCB_INSN_BYTES         0x0d1
#define VMCB_VMSA_PA            0x108
#define VMCB_SAVE               0x400

#endif
