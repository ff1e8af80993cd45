/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Last branch recording, and its virtualization.
 *
 * While it is on, hflags have TF, so that each instruction is a translation
 * block of its own that ends in a single step: there the branch is recorded,
 * and #DB follows only if RFLAGS had TF too.
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "compat.h"
#include "insn.h"
#include "vmcb.h"

#define DEBUGCTL_LBR            (1u << 0)
#define DEBUGCTL_BITS           0x3f
#define LBR_CTL_ENABLE          1

/* As they stand in the save area */
enum { DEBUGCTL, BR_FROM, BR_TO, EXCP_FROM, EXCP_TO };
QEMU_BUILD_BUG_ON(offsetof(struct vmcb_save_area, last_excp_to) !=
                  offsetof(struct vmcb_save_area, dbgctl) + 8 * EXCP_TO);

void sev_lbr_control(CPUX86State *env, uint64_t debugctl)
{
    env->sev.lbr[DEBUGCTL] = debugctl & DEBUGCTL_BITS;
    env->hflags &= ~HF_TF_MASK;
    env->hflags |= debugctl & DEBUGCTL_LBR ? HF_TF_MASK : 0;
}

static void record(CPUX86State *env)
{
    env->sev.lbr[BR_FROM] = env->sev.from;
    env->sev.lbr[BR_TO] = env->eip;
}

void helper_svm_lbr_insn(CPUX86State *env)
{
    SevTcgState *s = &env->sev;
    SevInsn in = { .len = 0 };

    if (env->hflags & HF_TF_MASK) {
        sev_insn_decode(env, &in);
    }
    s->tf = env->eflags & TF_MASK;
    s->from = env->eip;
    s->branch = in.branch;
    s->not_taken = in.conditional ? env->eip + in.len : -1;
}

static void insn_done(CPUX86State *env)
{
    if ((env->hflags & HF_TF_MASK) && env->sev.branch && env->eip != env->sev.not_taken) {
        record(env);
    }
}

void svm_lbr_step(CPUX86State *env)
{
    insn_done(env);
    if (!env->sev.tf) {
        cpu_loop_exit_noexc(env_cpu(env));
    }
}

void svm_lbr_recheck(CPUX86State *env)
{
    env->sev.tf = env->eflags & TF_MASK;
    insn_done(env);
}

void svm_lbr_event(CPUX86State *env)
{
    env->sev.from = env->eip;
    env->sev.rmp_insn = false;
}

void svm_lbr_event_done(CPUX86State *env, int vector)
{
    SevTcgState *s = &env->sev;

    if (!(env->hflags & HF_TF_MASK)) {
        return;
    }
    if (vector == EXCP01_DB) {
        sev_lbr_control(env, s->lbr[DEBUGCTL] & ~DEBUGCTL_LBR);
    } else {
        s->lbr[EXCP_FROM] = s->lbr[BR_FROM];
        s->lbr[EXCP_TO] = s->lbr[BR_TO];
        record(env);
    }
}

/* Save the registers in use to the save area of the VMCB at @to, load those of the one at @from */
static void swap(CPUX86State *env, hwaddr to, hwaddr from)
{
    hwaddr offset = offsetof(struct vmcb, save.dbgctl);
    int i;

    for (i = DEBUGCTL; i <= EXCP_TO; i++) {
        x86_stq_phys(env_cpu(env), to + offset + 8 * i, env->sev.lbr[i]);
        env->sev.lbr[i] = x86_ldq_phys(env_cpu(env), from + offset + 8 * i);
    }
    sev_lbr_control(env, env->sev.lbr[DEBUGCTL]);
}

void sev_lbr_vmrun(CPUX86State *env)
{
    env->sev.lbrv = (env->features[FEAT_SVM] & CPUID_SVM_LBRV) &&
                    (x86_ldq_phys(env_cpu(env), env->vm_vmcb +
                     offsetof(struct vmcb, control.lbr_ctl)) & LBR_CTL_ENABLE);
    if (env->sev.lbrv) {
        swap(env, env->vm_hsave, env->vm_vmcb);
    }
}

void sev_lbr_vmexit(CPUX86State *env)
{
    if (env->sev.lbrv) {
        swap(env, env->vm_vmcb, env->vm_hsave);
        env->sev.lbrv = false;
    }
}
