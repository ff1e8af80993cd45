/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The instructions that change the reverse map table: RMPUPDATE and PSMASH of
 * the hypervisor, PVALIDATE and RMPADJUST of a guest (APM volume 3).
 */
#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/log.h"
#include "tcg/sev/compat.h"
#include "tcg/sev/vmcb.h"
#include "rmp.h"

/* Prefix, and the last byte of the opcode 0F 01 */
enum { RMPUPDATE = 0x2fe, RMPADJUST = 0x3fe, PVALIDATE = 0x2ff, PSMASH = 0x3ff };

/* What they return in EAX */
enum { SUCCESS, FAIL_INPUT, FAIL_PERMISSION, FAIL_INUSE, FAIL_OVERLAP, FAIL_SIZEMISMATCH = 6 };

/* The operand of RMPUPDATE */
typedef struct QEMU_PACKED RmpUpdate {
    uint64_t gpa;
    uint8_t assigned, large, immutable, reserved;
    uint32_t asid;
} RmpUpdate;

/* RDX of RMPADJUST */
#define ADJUST_PERMS(rdx)       extract64(rdx, 8, 8)
#define ADJUST_VMSA             (1u << 16)

/*
 * The guest's private page at @va, for PVALIDATE and RMPADJUST: whether it is
 * this guest's has been checked, but not whether it is validated.  Does not
 * return if there is none.
 */
static uint64_t private_page(CPUX86State *env, target_ulong va, bool large, uintptr_t ra)
{
    int mmu_idx = cpu_mmu_index(env_cpu(env), false);
    CPUTLBEntryFull *full;
    uint64_t paddr, e;
    void *host;

    /* Walk anew: the entry that is there may be from before a change */
    tlb_flush_page(env_cpu(env), va);
    env->sev.rmp_insn = true;           /* an exception or exit ends it, too */
    probe_access_full(env, va, 0, MMU_DATA_LOAD, mmu_idx, false, &host, &full, ra);
    env->sev.rmp_insn = false;
    paddr = full->phys_addr & TARGET_PAGE_MASK;
    tlb_flush_page(env_cpu(env), va);
    if (!env->sev.private) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    e = snp_rmp_entry(paddr);
    if ((e & RMP_2M) && !large) {
        /* The hypervisor has to smash it first */
        x86_stq_phys(env_cpu(env), env->vm_vmcb + offsetof(struct vmcb, control.exit_info_2), env->sev.gpa);
        cpu_vmexit(env, SVM_EXIT_NPF, SVM_NPTEXIT_GPA | NPF_ENC | NPF_SIZEM | PF_RMP |
                   PG_ERROR_P_MASK | PG_ERROR_U_MASK, ra);
    }
    return paddr;
}

/* Is a CPU running from this page, as its VMSA? */
static bool in_use(uint64_t paddr)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        if (cpu_env(cs)->sev.snp && qatomic_read(&cpu_env(cs)->sev.vmsa) == paddr) {
            return true;
        }
    }
    return false;
}

/* Entries of one page of a guest, 4 KiB or 2 MiB */
static void set_all(uint64_t paddr, uint64_t e, uint64_t hi, bool grants)
{
    uint64_t end = paddr + (e & RMP_2M ? LARGE_PAGE : TARGET_PAGE_SIZE);

    for (; paddr < end; paddr += TARGET_PAGE_SIZE) {
        (grants ? snp_rmp_grant : snp_rmp_set)(paddr, e, hi);
        e = (e & ~RMP_2M) + RMP_GPA(TARGET_PAGE_SIZE);
    }
}

static int pvalidate(CPUX86State *env, bool *unchanged, uintptr_t ra)
{
    target_ulong va = env->regs[R_EAX];
    bool large = env->regs[R_ECX] & 1, on = env->regs[R_EDX] & 1;
    uint64_t paddr, e, new;

    if (env->sev.vmpl) {
        return FAIL_PERMISSION;
    }
    if (large && (va & ~LARGE_MASK)) {
        return FAIL_INPUT;
    }
    paddr = private_page(env, va, large, ra);
    e = snp_rmp_entry(paddr);
    if (large && !(e & RMP_2M)) {
        return FAIL_SIZEMISMATCH;
    }
    if ((e & RMP_VMSA) && in_use(paddr)) {
        return FAIL_INUSE;
    }
    new = on ? e | RMP_VALIDATED : e & ~RMP_VALIDATED;
    if (new == e) {
        *unchanged = true;
        return SUCCESS;
    }
    set_all(paddr, new, snp_rmp(paddr)->hi, on);
    return SUCCESS;
}

static int rmpadjust(CPUX86State *env, uintptr_t ra)
{
    target_ulong va = env->regs[R_EAX];
    uint64_t rdx = env->regs[R_EDX], paddr, e, hi;
    bool large = env->regs[R_ECX] & 1;
    int vmpl = rdx & 0xff, perms = ADJUST_PERMS(rdx);

    if (large && (va & ~LARGE_MASK)) {
        return FAIL_INPUT;
    }
    if (vmpl >= SNP_VMPLS) {
        return FAIL_INPUT;
    }
    /* A VMPL changes permissions of those below it alone */
    if (vmpl <= env->sev.vmpl) {
        return FAIL_PERMISSION;
    }
    paddr = private_page(env, va, large, ra);
    e = snp_rmp_entry(paddr);
    hi = snp_rmp(paddr)->hi;
    if (!(e & RMP_VALIDATED)) {
        env->cr[2] = va;
        raise_exception_err_ra(env, EXCP_VC, VC_PAGE_NOT_VALIDATED, ra);
    }
    if (large && !(e & RMP_2M)) {
        return FAIL_SIZEMISMATCH;
    }
    /* It gives no permission that it has not; and VMPL 0 alone makes VMSAs */
    if ((perms & ~extract64(hi, 8 * env->sev.vmpl, 8)) ||
        (env->sev.vmpl && !(rdx & ADJUST_VMSA) != !(e & RMP_VMSA))) {
        return FAIL_PERMISSION;
    }
    if ((e & RMP_VMSA) && in_use(paddr)) {
        return FAIL_INUSE;
    }
    hi = deposit64(hi, 8 * vmpl, 8, perms);
    e = rdx & ADJUST_VMSA ? e | RMP_VMSA : e & ~RMP_VMSA;
    set_all(paddr, e, hi, false);
    return SUCCESS;
}

static int rmpupdate(CPUX86State *env, uintptr_t ra)
{
    uint64_t paddr = env->regs[R_EAX], p = env->regs[R_ECX], a, e, new = 0;
    RmpUpdate u;
    uint64_t size;
    int i;

    for (i = 0; i < sizeof(u); i++) {
        ((uint8_t *)&u)[i] = cpu_ldub_data_ra(env, p + i, ra);
    }
    u.gpa = le64_to_cpu(u.gpa);
    u.asid = le32_to_cpu(u.asid);
    size = u.large & 1 ? LARGE_PAGE : TARGET_PAGE_SIZE;
    if ((paddr & (size - 1)) || !snp_rmp(paddr + size - 1) ||
        u.asid > extract64(RMP_ASID_MASK, 51, 10) || ((u.assigned & 1) && (u.gpa & (size - 1)))) {
        return FAIL_INPUT;
    }
    e = snp_rmp_entry(paddr);
    if ((e & RMP_ASSIGNED) && (e & RMP_2M) && size != LARGE_PAGE) {
        return FAIL_OVERLAP;
    }
    for (a = paddr; a < paddr + size; a += TARGET_PAGE_SIZE) {
        if (snp_rmp_entry(a) & RMP_IMMUTABLE) {
            return FAIL_PERMISSION;
        }
        if ((snp_rmp_entry(a) & RMP_VMSA) && in_use(a)) {
            return FAIL_INUSE;
        }
        if (size == LARGE_PAGE && !(e & RMP_2M) && (snp_rmp_entry(a) & RMP_ASSIGNED)) {
            return FAIL_OVERLAP;
        }
    }
    if (u.assigned & 1) {
        new = RMP_ASSIGNED | (u.large & 1) * RMP_2M | (u.immutable & 1) * RMP_IMMUTABLE |
              RMP_GPA(u.gpa) | RMP_ASID(u.asid);
    }
    for (a = paddr; a < paddr + size; a += TARGET_PAGE_SIZE) {
        snp_rmp_set(a, new, u.asid && new ? RMP_VMPL(0, VMPL_ALL) : 0);
        new = new ? (new & ~RMP_2M) + RMP_GPA(TARGET_PAGE_SIZE) : 0;
    }
    return SUCCESS;
}

static int psmash(CPUX86State *env)
{
    uint64_t paddr = env->regs[R_EAX], e, hi;
    SnpRmpEntry *head = snp_rmp(paddr);
    int i;

    if ((paddr & ~LARGE_MASK) || !snp_rmp(paddr + LARGE_PAGE - 1)) {
        return FAIL_INPUT;
    }
    e = head->lo;
    hi = head->hi;
    if (!(e & RMP_ASSIGNED) || !(e & RMP_2M) || (e & RMP_IMMUTABLE)) {
        return FAIL_PERMISSION;
    }
    for (i = 0; i < LARGE_PAGE / TARGET_PAGE_SIZE; i++) {
        snp_rmp_set(paddr + i * TARGET_PAGE_SIZE, (e & ~RMP_2M) + RMP_GPA(i * TARGET_PAGE_SIZE), hi);
    }
    return SUCCESS;
}

void helper_snp_insn(CPUX86State *env, uint32_t op)
{
    uintptr_t ra = GETPC();
    bool guest = op == PVALIDATE || op == RMPADJUST, unchanged = false;
    int st;

    if (guest ? !env->sev.snp : !snp_rmp_on || (env->hflags & HF_GUEST_MASK) ||
                                (op != RMPUPDATE && op != PSMASH)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    /* Firmware validates its memory before it is in 64-bit mode */
    if (op != PVALIDATE && !(env->hflags & HF_CS64_MASK)) {
        raise_exception_ra(env, EXCP06_ILLOP, ra);
    }
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_err_ra(env, EXCP0D_GPF, 0, ra);
    }
    st = op == PVALIDATE ? pvalidate(env, &unchanged, ra) : op == RMPADJUST ? rmpadjust(env, ra) :
         op == RMPUPDATE ? rmpupdate(env, ra) : psmash(env);
    qemu_log_mask(CPU_LOG_INT, "SNP: %#x of %#" PRIx64 ": %d\n", op, (uint64_t)env->regs[R_EAX], st);
    env->regs[R_EAX] = st;
    /* ZF and PF follow from EAX; CF is PVALIDATE's "no change" */
    CC_SRC = (unchanged ? CC_C : 0) | (st ? 0 : CC_Z) | (ctpop8(st) & 1 ? 0 : CC_P);
    CC_OP = CC_OP_EFLAGS;
}
