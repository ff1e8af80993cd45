/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Intercepts: which leave an SEV-ES guest by themselves and which become #VC,
 * nRIP and decode assists, write traps, VMGEXIT, event injection.
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "cpu.h"
#include "exec/log.h"
#include "compat.h"
#include "insn.h"
#include "vmcb.h"

bool svm_tcg_automatic_exit(uint64_t code, uint64_t info1)
{
    switch (code) {
    case SVM_EXIT_EXCP_BASE + EXCP12_MCHK:
    case SVM_EXIT_INTR:
    case SVM_EXIT_NMI:
    case SVM_EXIT_SMI:
    case SVM_EXIT_INIT:
    case SVM_EXIT_VINTR:
    case SVM_EXIT_PAUSE:
    case SVM_EXIT_HLT:
    case SVM_EXIT_SHUTDOWN:
    case SVM_EXIT_EFER_WRITE_TRAP ... SVM_EXIT_CR15_WRITE_TRAP:
    case SVM_EXIT_VMGEXIT:
    case (uint64_t)SVM_EXIT_ERR:
        return true;
    case SVM_EXIT_NPF:
        return !(info1 & PG_ERROR_RSVD_MASK);
    }
    return false;
}

static bool is_insn_exit(uint64_t code)
{
    switch (code) {
    case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_DR7 + 8:
    case SVM_EXIT_CR0_SEL_WRITE ... SVM_EXIT_RDPMC:
    case SVM_EXIT_PUSHF ... SVM_EXIT_MSR:
    case SVM_EXIT_VMRUN ... SVM_EXIT_XSETBV:
    case SVM_EXIT_EXCP_BASE + EXCP03_INT3:
    case SVM_EXIT_EXCP_BASE + EXCP04_INTO:
        return true;
    }
    return false;
}

static hwaddr control(CPUX86State *env, size_t offset)
{
    return env->vm_vmcb + offset;
}

#define CONTROL(env, field) control(env, offsetof(struct vmcb, control.field))

/* Decode assists and nRIP of a guest whose registers the hypervisor may see */
static void assist(CPUX86State *env, uint64_t code, uint64_t *info1, const SevInsn *in)
{
    CPUState *cs = env_cpu(env);
    uint8_t b[15];
    int n = 0;

    x86_stq_phys(cs, control(env, VMCB_NEXT_RIP), in->len ? env->eip + in->len : 0);
    switch (code) {
    case SVM_EXIT_READ_CR0 ... SVM_EXIT_WRITE_CR0 + 15:
    case SVM_EXIT_CR0_SEL_WRITE:
        if (in->gpr >= 0) {
            *info1 = in->gpr | 1ull << 63;
        }
        break;
    case SVM_EXIT_READ_DR0 ... SVM_EXIT_WRITE_DR0 + 15:
        *info1 = in->gpr;
        break;
    case SVM_EXIT_SWINT:
        *info1 = in->vector;
        break;
    case SVM_EXIT_INVLPG:
        *info1 = in->ea;
        break;
    case SVM_EXIT_NPF:
    case SVM_EXIT_EXCP_BASE + EXCP0E_PAGE:
        if (!(*info1 & PG_ERROR_I_D_MASK)) {
            n = sev_insn_peek(env, b, sizeof(b));
        }
        break;
    }
    x86_stb_phys(cs, control(env, VMCB_INSN_LEN), n);
    cpu_physical_memory_write(control(env, VMCB_INSN_BYTES), b, n);
}

uintptr_t svm_tcg_intercept(CPUX86State *env, uint64_t code, uint64_t *info1, uintptr_t ra)
{
    CPUState *cs = env_cpu(env);
    SevInsn in = { .gpr = -1 };

    env->sev.rmp_insn = false;
    if (!(env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE) ||
        !(env->hflags & HF_GUEST_MASK) || code == (uint64_t)SVM_EXIT_ERR) {
        return ra;
    }
    if (env->sev.vmsa && !svm_tcg_automatic_exit(code, *info1)) {
        qemu_log_mask(CPU_LOG_INT, "SEV-ES: #VC(%#" PRIx64 ") at " TARGET_FMT_lx "\n", code,
                      env->eip);
        /* NPF and IOIO have written it on their way here */
        x86_stq_phys(cs, CONTROL(env, exit_info_2), 0);
        raise_exception_err_ra(env, EXCP_VC, code, ra);
    }

    cpu_restore_state(cs, ra);
    if (code == SVM_EXIT_SHUTDOWN && env->sev.cbit) {
        /* The hypervisor will not see these registers */
        qemu_log_mask(LOG_GUEST_ERROR, "SEV guest shuts down\n");
        log_cpu_state_mask(LOG_GUEST_ERROR, cs, CPU_DUMP_CCOP);
    }
    if (is_insn_exit(code)) {
        sev_insn_decode(env, &in);
    }
    if (!env->sev.vmsa) {
        assist(env, code, info1, &in);
        return 0;
    }
    /* Nothing of the instruction is told; HLT and PAUSE are complete */
    if (code == SVM_EXIT_HLT || code == SVM_EXIT_PAUSE) {
        env->eip += in.len;
        env->hflags &= ~HF_INHIBIT_IRQ_MASK;
    }
    x86_stq_phys(cs, control(env, VMCB_NEXT_RIP), 0);
    x86_stb_phys(cs, control(env, VMCB_INSN_LEN), 0);
    return 0;
}

void svm_tcg_exit_int_info(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    hwaddr a = CONTROL(env, exit_int_info);

    if (!(x86_ldl_phys(cs, a) & SVM_EXITINTINFO_VALID)) {
        x86_stq_phys(cs, a, 0);
    }
}

uint64_t svm_tcg_event_rip(CPUX86State *env, uint32_t event_inj)
{
    uint32_t type = event_inj & SVM_EVTINJ_TYPE_MASK;
    uint32_t vector = event_inj & SVM_EVTINJ_VEC_MASK;
    uint64_t nrip = 0;

    env->exception_is_int = type == SVM_EVTINJ_TYPE_SOFT ||
                            vector == EXCP03_INT3 || vector == EXCP04_INTO;
    /* It may be the first of a double fault */
    if (type == SVM_EVTINJ_TYPE_EXEPT && (vector == EXCP00_DIVZ ||
        (vector >= EXCP0A_TSS && vector <= EXCP0E_PAGE) || vector == EXCP08_DBLE)) {
        env->old_exception = vector;
    }
    if (env->features[FEAT_SVM] & CPUID_SVM_NRIPSAVE) {
        nrip = x86_ldq_phys(env_cpu(env), control(env, VMCB_NEXT_RIP));
    }
    return nrip ?: env->eip;
}

/* The instruction is done: leave after it */
static G_NORETURN void exit_after_insn(CPUX86State *env, uint64_t code, uint64_t info1, int len)
{
    env->eip += len;
    env->hflags &= ~HF_INHIBIT_IRQ_MASK;
    cpu_vmexit(env, code, info1, 0);
}

void sev_tcg_trap(CPUX86State *env, uint32_t code, uint64_t val, uintptr_t ra)
{
    SevInsn in;

    if (!env->sev.vmsa || !cpu_svm_has_intercept(env, code)) {
        return;
    }
    cpu_restore_state(env_cpu(env), ra);
    sev_insn_decode(env, &in);
    exit_after_insn(env, code, val, in.len);
}

void sev_tcg_vmgexit(CPUX86State *env, uintptr_t ra)
{
    SevInsn in;

    if (!env->sev.vmsa) {
        return;
    }
    cpu_restore_state(env_cpu(env), ra);
    sev_insn_decode(env, &in);
    if (in.rep) {
        exit_after_insn(env, SVM_EXIT_VMGEXIT, 0, in.len);
    }
}
