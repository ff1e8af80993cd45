/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VMRUN and #VMEXIT of SEV and SEV-ES guests.
 *
 * While an SEV-ES guest runs, its VMSA stands in the clear in CPU state and,
 * as far as the layouts agree, in the save area of the VMCB, where QEMU's
 * VMRUN and #VMEXIT look; the page of the VMSA itself is always encrypted.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "cpu.h"
#include "compat.h"
#include "vmcb.h"
#include "vmsa.h"
#include "memory.h"
#include "tcg/snp/rmp.h"

#define NESTED_CTL_SEV          (1u << 1)
#define NESTED_CTL_SEV_ES       (1u << 2)

#define SEV_STATUS_SEV          (1u << 0)
#define SEV_STATUS_SEV_ES       (1u << 1)

QEMU_BUILD_BUG_ON(offsetof(struct vmcb, save) != VMCB_SAVE);
QEMU_BUILD_BUG_ON(offsetof(struct vmcb, control.nested_cr3) != 0xb0);
QEMU_BUILD_BUG_ON(offsetof(struct vmcb_save_area, cr2) != 0x240);
QEMU_BUILD_BUG_ON(sizeof(struct vmcb_save_area) < SEV_SAVE_SIZE);

/* Is this page a VMSA that an SNP guest may be run from? */
static bool vmsa_of(uint64_t vmsa, uint32_t asid)
{
    uint64_t e = snp_rmp_entry(vmsa);

    return (e & RMP_STATE) == (RMP_ASSIGNED | RMP_VMSA | RMP_VALIDATED | RMP_ASID(asid)) &&
           !(e & RMP_2M);
}

/* What a VMSA's SEV_FEATURES may hold on this processor: VMRUN refuses reserved bits (APM volume 2, SEV-ES) */
static uint64_t supported(const SevTcgModel *model)
{
    return SEV_FEATURE_SNP_ACTIVE | (model->debug_swap ? SEV_FEATURE_DEBUG_SWAP : 0);
}

static void vmrun(CPUX86State *env, uint64_t nested_ctl, uint32_t asid, uintptr_t ra)
{
    SevTcgState *s = &env->sev;
    const SevTcgModel *model = &env_archcpu(env)->sev_model;
    bool es = nested_ctl & NESTED_CTL_SEV_ES;
    uint64_t vmsa;

    if (!env_archcpu(env)->sev_tcg || !(nested_ctl & (NESTED_CTL_SEV | NESTED_CTL_SEV_ES))) {
        return;
    }
    if (!(nested_ctl & NESTED_CTL_SEV) || !(nested_ctl & SVM_NPT_ENABLED) ||
        asid > model->asids || es != (asid < model->min_sev_asid) || !sev_tcg_asid_key[asid]) {
        cpu_vmexit(env, SVM_EXIT_ERR, 0, ra);
    }
    s->key = sev_tcg_asid_key[asid];
    s->sev_status = SEV_STATUS_SEV;
    if (es) {
        vmsa = x86_ldq_phys(env_cpu(env), env->vm_vmcb + VMCB_VMSA_PA);
        if (vmsa & (0xfff | ~MAKE_64BIT_MASK(0, env_archcpu(env)->phys_bits))) {
            cpu_vmexit(env, SVM_EXIT_ERR, 0, ra);
        }
        s->asid = asid;
        if (snp_asid[asid] && !vmsa_of(vmsa, asid)) {
            cpu_vmexit(env, SVM_EXIT_ERR, 0, ra);
        }
        sev_page_io(vmsa, s->page, false);
        if (!snp_asid[asid] && !sev_tcg_vmsa_sealed(s->key, vmsa, s->page)) {
            cpu_vmexit(env, SVM_EXIT_ERR, 0, ra);
        }
        sev_tcg_crypt(s->key, vmsa, s->page, sizeof(s->page));
        s->features = ldq_le_p(s->page + SA_SEV_FEATURES);
        if ((s->features & ~supported(model)) || s->page[SA_VMPL] >= SNP_VMPLS ||
            snp_asid[asid] != !!(s->features & SEV_FEATURE_SNP_ACTIVE)) {
            cpu_vmexit(env, SVM_EXIT_ERR, 0, ra);
        }
        s->snp = snp_asid[asid];
        s->vmpl = s->page[SA_VMPL];
        s->sev_status |= SEV_STATUS_SEV_ES | s->features << 2;
        cpu_physical_memory_read(env->vm_vmcb + VMCB_SAVE, s->vmcb_save, SEV_SAVE_SIZE);
        cpu_physical_memory_write(env->vm_vmcb + VMCB_SAVE, s->page, SEV_SAVE_SIZE);
        s->vmsa = vmsa;
        s->host_pat = env->pat;
        env->pat = ldq_le_p(s->page + SA_G_PAT);
        sev_move_type_b(env, s->page, s->features & SEV_FEATURE_DEBUG_SWAP, true);
        sev_move_fpu(env, s->page, true);
    }
    s->cbit = 1ull << model->cbit;
}

void sev_tcg_vmrun(CPUX86State *env, uint64_t nested_ctl, uint32_t asid, uintptr_t ra)
{
    vmrun(env, nested_ctl, asid, ra);
    sev_lbr_vmrun(env);
}

void sev_tcg_vmexit(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    SevTcgState *s = &env->sev;
    bool debug_swap = s->features & SEV_FEATURE_DEBUG_SWAP;
    hwaddr vmsa = s->vmsa;
    uint8_t host[SA_USED];

    sev_lbr_vmexit(env);
    s->cbit = 0;
    if (!vmsa) {
        return;
    }
    s->vmsa = 0;

    /* VMRUN that fails leaves the VMSA as it was */
    if (x86_ldq_phys(cs, env->vm_vmcb + offsetof(struct vmcb, control.exit_code)) !=
        (uint64_t)SVM_EXIT_ERR) {
        cpu_physical_memory_read(env->vm_vmcb + VMCB_SAVE, s->page, SEV_SAVE_SIZE);
        stq_le_p(s->page + SA_G_PAT, env->pat);
        sev_move_type_b(env, s->page, debug_swap, false);
        sev_move_fpu(env, s->page, false);
        sev_tcg_crypt(s->key, vmsa, s->page, sizeof(s->page));
        if (!s->snp) {
            sev_tcg_vmsa_seal(s->key, vmsa, s->page);
        }
        sev_page_io(vmsa, s->page, true);
    }
    memset(s->page, 0, sizeof(s->page));
    cpu_physical_memory_write(env->vm_vmcb + VMCB_SAVE, s->vmcb_save, SEV_SAVE_SIZE);
    if (cpu_compute_eflags(env) & IF_MASK) {
        hwaddr a = env->vm_vmcb + offsetof(struct vmcb, control.int_state);

        x86_stl_phys(cs, a, x86_ldl_phys(cs, a) | SVM_GUEST_INTERRUPT_MASK);
    }

    env->pat = s->host_pat;
    cpu_physical_memory_read(env->vm_hsave + VMCB_SAVE, host, sizeof(host));
    sev_move_type_b(env, host, debug_swap, true);
    sev_reset_fpu(env);
    s->features = 0;
    s->snp = false;
}
