/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the reverse map table lets a CPU do with a page.
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "tcg/sev/compat.h"
#include "rmp.h"

/* Permissions that an access needs of its VMPL */
static int needs(int mmu_idx, MMUAccessType type)
{
    switch (type) {
    case MMU_DATA_STORE:
        return VMPL_WRITE;
    case MMU_INST_FETCH:
        return is_mmu_index_user(mmu_idx) ? VMPL_EXEC_USER : VMPL_EXEC_SUPER;
    default:
        return VMPL_READ;
    }
}

/* Does the entry @e of the page at @paddr say that it is the running SNP guest's, at @gpa, and validated? */
static SnpFault check_private(CPUX86State *env, uint64_t gpa, uint64_t paddr, uint64_t nested_size,
                              uint64_t e, uint32_t *code)
{
    SevTcgState *s = &env->sev;
    uint64_t mask = e & RMP_2M ? LARGE_MASK : TARGET_PAGE_MASK;
    uint64_t own = RMP_ASSIGNED | RMP_ASID(s->asid) | RMP_GPA(gpa & mask);

    if ((e & (RMP_ASSIGNED | RMP_IMMUTABLE | RMP_ASID_MASK | RMP_GPA_MASK)) != own ||
        (nested_size >= LARGE_PAGE && !(e & RMP_2M))) {
        qemu_log_mask(CPU_LOG_INT, "SNP: guest %d's page %#" PRIx64 " at %#" PRIx64 ", entry %#" PRIx64
                      "\n", s->asid, gpa, paddr, e);
        *code = PF_RMP;
        return SNP_NPF;
    }
    /* PVALIDATE and RMPADJUST test this by themselves */
    return (e & RMP_VALIDATED) || s->rmp_insn ? SNP_OK : SNP_VC;
}

/* What the running VMPL may do with the page at @paddr, whose entry is @e */
static int permissions(CPUX86State *env, uint64_t paddr, uint64_t e)
{
    uint64_t head = e & RMP_2M ? paddr & LARGE_MASK : paddr;

    return extract64(snp_rmp(head)->hi, 8 * env->sev.vmpl, 8);
}

SnpFault snp_check(CPUX86State *env, int mmu_idx, MMUAccessType type, uint64_t paddr,
                   uint64_t size, uint64_t nested_size, int *prot, uint32_t *code)
{
    bool guest = env->hflags & HF_GUEST_MASK;
    uint64_t e = snp_rmp_entry(paddr);
    SnpFault fault;
    int perms;

    if (env->sev.snp && env->sev.private) {
        fault = check_private(env, env->sev.gpa, paddr, nested_size, e, code);
        if (fault || env->sev.rmp_insn) {
            return fault;
        }
        perms = permissions(env, paddr, e);
        if (e & RMP_VMSA) {
            perms &= ~VMPL_WRITE;
        }
        if (!(perms & needs(mmu_idx, type))) {
            *code = PF_RMP | (e & RMP_VMSA && type == MMU_DATA_STORE ? 0 : PF_VMPL);
            return SNP_NPF;
        }
        *prot &= (perms & VMPL_READ ? PAGE_READ : 0) | (perms & VMPL_WRITE ? PAGE_WRITE : 0) |
                 (perms & needs(mmu_idx, MMU_INST_FETCH) ? PAGE_EXEC : 0);
        return SNP_OK;
    }
    /* Anyone may read; a large page of the host's is writable if nothing in it is taken */
    if (snp_rmp_owned(paddr) || (!guest && size >= LARGE_PAGE && snp_rmp_owned_2m(paddr))) {
        if (type == MMU_DATA_STORE) {
            qemu_log_mask(CPU_LOG_INT, "SNP: %s writes to %#" PRIx64 ", entry %#" PRIx64 "\n",
                          guest ? "a guest" : "the host", paddr, e);
            *code = PF_RMP;
            return guest ? SNP_NPF : SNP_PF;
        }
        *prot &= ~PAGE_WRITE;
    }
    return SNP_OK;
}

SnpFault snp_check_walk(CPUX86State *env, uint64_t gpa, uint64_t paddr, uint64_t nested_size,
                        uint32_t *code)
{
    uint64_t e = snp_rmp_entry(paddr);
    SnpFault fault = check_private(env, gpa, paddr, nested_size, e, code);

    if (!fault && !(permissions(env, paddr, e) & VMPL_READ)) {
        *code = PF_RMP | PF_VMPL;
        return SNP_NPF;
    }
    return fault;
}
