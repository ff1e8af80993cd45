/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Decoding of instructions that have an intercept, and of branches (APM volume 3).
 */
#ifndef I386_TCG_SEV_INSN_H
#define I386_TCG_SEV_INSN_H

typedef struct SevInsn {
    int len;                    /* 0: none that can be intercepted, no Jcc */
    bool rep;                   /* F2 or F3 prefix */
    int gpr;                    /* MOV to or from CR, DR: register, else -1 */
    int vector;                 /* of INTn, else -1 */
    uint64_t ea;                /* linear address of a memory operand */
    bool branch;                /* but for INTn and its kin */
    bool conditional;           /* a branch that may not be taken */
} SevInsn;

/* Copy at most @max bytes at RIP to @buf, without a fault; returns how many are mapped */
int sev_insn_peek(CPUX86State *env, uint8_t *buf, int max);

/*
 * Decode what stands at RIP.  CPU state must be that before the instruction:
 * if its bytes are not mapped any more, the fault that a fetch takes is
 * raised, and the instruction starts again.
 */
void sev_insn_decode(CPUX86State *env, SevInsn *in);

#endif
