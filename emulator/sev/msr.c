/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * CPUID leaf and MSRs of SEV, SEV-ES and SEV-SNP, and of last branch recording.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "cpu.h"
#include "compat.h"
#include "msr.h"
#include "vmcb.h"
#include "tcg/snp/rmp.h"

#define MSR_DEBUGCTL            0x1d9
#define MSR_LASTBRANCHFROM      0x1db   /* ...TO, LASTINTFROM, LASTINTTO */
#define MSR_SYSCFG              0xc0010010
#define MSR_HWCR                0xc0010015
#define MSR_SEV_ES_GHCB         0xc0010130
#define MSR_SEV_STATUS          0xc0010131
#define MSR_RMP_BASE            0xc0010132
#define MSR_RMP_END             0xc0010133

#define HWCR_SMMLOCK            (1u << 0)
#define HWCR_TSC_FREQ_SEL       (1u << 24)

/* CPUID 0x8000001F, EAX */
#define CPUID_SEV               (1u << 1)
#define CPUID_VM_PAGE_FLUSH     (1u << 2)
#define CPUID_SEV_ES            (1u << 3)
#define CPUID_SEV_SNP           (1u << 4)
#define CPUID_VMPL              (1u << 5)
#define CPUID_V_TSC_AUX         (1u << 9)
#define CPUID_COHERENT          (1u << 10)
#define CPUID_DEBUG_SWAP        (1u << 14)

void sev_tcg_cpuid(CPUX86State *env, uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    const SevTcgModel *model = &env_archcpu(env)->sev_model;

    if (!env_archcpu(env)->sev_tcg) {
        return;
    }
    *eax = CPUID_SEV | CPUID_VM_PAGE_FLUSH | CPUID_SEV_ES | CPUID_V_TSC_AUX | CPUID_COHERENT |
           (model->debug_swap ? CPUID_DEBUG_SWAP : 0);
    *ebx = model->cbit | SEV_PHYS_REDUCED << 6;
    if (snp_rmp_base) {
        *eax |= CPUID_SEV_SNP | CPUID_VMPL;
        *ebx |= SNP_VMPLS << 12;
    }
    *ecx = model->asids;
    *edx = model->min_sev_asid;
}

bool sev_tcg_check_model(Error **errp)
{
    const X86CPU *cpu = X86_CPU(first_cpu);
    const SevTcgModel *model = &cpu->sev_model;

    /* Bits below are addresses, bits above are attributes of a page-table entry */
    if (model->cbit < cpu->phys_bits || model->cbit > 51) {
        error_setg(errp, "x-sev-cbit is %d, and has to be from %d to 51", model->cbit, cpu->phys_bits);
    } else if (!model->asids || model->asids > SEV_ASIDS_MAX) {
        error_setg(errp, "x-sev-asids is %u, and has to be from 1 to %d", model->asids, SEV_ASIDS_MAX);
    } else if (!model->min_sev_asid || model->min_sev_asid > model->asids + 1) {
        error_setg(errp, "x-sev-min-asid is %u, and has to be from 1 to x-sev-asids + 1", model->min_sev_asid);
    } else {
        return true;
    }
    return false;
}

bool sev_tcg_rdmsr(CPUX86State *env, uintptr_t ra)
{
    uint32_t msr = env->regs[R_ECX];
    bool sev = env_archcpu(env)->sev_tcg;
    SevTcgState *s = &env->sev;
    uint64_t val;

    switch (msr) {
    case MSR_DEBUGCTL:
    case MSR_LASTBRANCHFROM ... MSR_LASTBRANCHFROM + 3:
        cpu_svm_check_intercept_param(env, SVM_EXIT_MSR, 0, ra);
        val = s->lbr[msr == MSR_DEBUGCTL ? 0 : msr - MSR_LASTBRANCHFROM + 1];
        break;
    case MSR_SYSCFG:
    case MSR_HWCR:
        if (!sev) {
            return false;
        }
        cpu_svm_check_intercept_param(env, SVM_EXIT_MSR, 0, ra);
        val = msr == MSR_SYSCFG ? SYSCFG_MEM_ENCRYPT | s->syscfg : HWCR_SMMLOCK | HWCR_TSC_FREQ_SEL;
        break;
    case MSR_RMP_BASE:
    case MSR_RMP_END:
        if (!snp_rmp_base) {
            return false;
        }
        cpu_svm_check_intercept_param(env, SVM_EXIT_MSR, 0, ra);
        val = msr == MSR_RMP_BASE ? snp_rmp_base : snp_rmp_end;
        break;
    case MSR_SEV_STATUS:
        if (!sev || (!s->cbit && (env->hflags & HF_GUEST_MASK))) {
            return false;
        }
        val = s->cbit ? s->sev_status : 0;
        break;
    case MSR_SEV_ES_GHCB:
        if (!s->vmsa) {
            return false;
        }
        val = x86_ldq_phys(env_cpu(env), env->vm_vmcb + VMCB_GHCB_GPA);
        break;
    default:
        return false;
    }
    env->regs[R_EAX] = (uint32_t)val;
    env->regs[R_EDX] = val >> 32;
    return true;
}

bool sev_tcg_wrmsr(CPUX86State *env, uintptr_t ra)
{
    uint64_t val = (uint32_t)env->regs[R_EAX] | (uint64_t)(uint32_t)env->regs[R_EDX] << 32;
    uint32_t msr = env->regs[R_ECX];

    if (msr == MSR_DEBUGCTL && (env->features[FEAT_SVM] & CPUID_SVM_LBRV)) {
        cpu_svm_check_intercept_param(env, SVM_EXIT_MSR, 1, ra);
        sev_lbr_control(env, val);
        return true;
    }
    if (msr == MSR_SYSCFG && snp_rmp_base) {
        cpu_svm_check_intercept_param(env, SVM_EXIT_MSR, 1, ra);
        /* What turns SNP on stays until a reset */
        env->sev.syscfg = (val & SYSCFG_SNP_READY) |
                          (env->sev.syscfg & (SYSCFG_SNP_EN | SYSCFG_VMPL_EN));
        if (env->sev.syscfg & SYSCFG_SNP_EN) {
            snp_rmp_enable();
            tlb_flush(env_cpu(env));
        }
        return true;
    }
    if (msr != MSR_SEV_ES_GHCB || !env->sev.vmsa) {
        return false;
    }
    x86_stq_phys(env_cpu(env), env->vm_vmcb + VMCB_GHCB_GPA, val);
    return true;
}
