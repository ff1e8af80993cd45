/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The reverse map table of SEV-SNP: to whom each page of memory belongs (APM
 * volume 2, SNP ABI for the states).
 */
#ifndef I386_TCG_SNP_RMP_H
#define I386_TCG_SNP_RMP_H

#include "cpu.h"

/*
 * An entry as Family 19h (models 00h to 1Fh) has it in memory, and Linux reads
 * it there.  Of the second word nothing is published; ours has a byte of
 * permissions for each VMPL.
 */
typedef struct SnpRmpEntry { uint64_t lo, hi; } SnpRmpEntry;
#define RMP_ASSIGNED            (1ull << 0)
#define RMP_2M                  (1ull << 1)
#define RMP_IMMUTABLE           (1ull << 2)
#define RMP_GPA_MASK            MAKE_64BIT_MASK(12, 39)
#define RMP_GPA(gpa)            ((gpa) & RMP_GPA_MASK)
#define RMP_ASID_MASK           MAKE_64BIT_MASK(51, 10)
#define RMP_ASID(asid)          ((uint64_t)(asid) << 51)
#define RMP_VMSA                (1ull << 61)
#define RMP_VALIDATED           (1ull << 62)
/* Whose the page is, and in which state */
#define RMP_STATE               (RMP_ASSIGNED | RMP_IMMUTABLE | RMP_ASID_MASK | RMP_VMSA | RMP_VALIDATED)

/* Permissions of one VMPL, as RMPADJUST takes them */
enum { VMPL_READ = 1, VMPL_WRITE = 2, VMPL_EXEC_USER = 4, VMPL_EXEC_SUPER = 8, VMPL_ALL = 15 };
#define RMP_VMPL(vmpl, perms)   ((uint64_t)(perms) << 8 * (vmpl))

enum { SNP_VMPLS = 4 };
#define LARGE_PAGE              0x200000ull     /* bytes */
#define LARGE_MASK              (~(LARGE_PAGE - 1))

/* SYSCFG.SNP_EN is set on a CPU: the table is in force */
extern bool snp_rmp_on;
/* MSRs RMP_BASE and RMP_END: first and last byte; 0: this processor has no SEV-SNP */
extern uint64_t snp_rmp_base, snp_rmp_end;
/* ASIDs that SNP guests are activated under */
extern bool snp_asid[SEV_ASIDS_MAX + 1];

/* Place the table at the end of memory, and reserve it in the E820 map */
void snp_rmp_setup(Error **errp);
/* SYSCFG.SNP_EN is set: enforce the table as it is */
void snp_rmp_enable(void);

/* Give all pages to the hypervisor, as SNP_INIT_EX does */
void snp_rmp_clear(void);

/* The entry of the page itself, or NULL: the table does not cover it */
SnpRmpEntry *snp_rmp(uint64_t paddr);
/* First word of the entry that decides: its own or that of its 2 MiB; 0 beyond the table */
uint64_t snp_rmp_entry(uint64_t paddr);
/* Does it belong to somebody, so that neither the hypervisor nor a device may write to it? */
bool snp_rmp_owned(uint64_t paddr);
/* Is any page of the 2 MiB around it somebody's? */
bool snp_rmp_owned_2m(uint64_t paddr);

/* Set both words of a page's entry, once no TLB holds the page */
void snp_rmp_set(uint64_t paddr, uint64_t lo, uint64_t hi);
/* The same for a change that takes nothing from anybody: TLBs may keep the page */
void snp_rmp_grant(uint64_t paddr, uint64_t lo, uint64_t hi);

/* ---- check.c ---- */

/* Outcome of a check: the fault that follows */
typedef enum SnpFault { SNP_OK, SNP_PF, SNP_NPF, SNP_VC } SnpFault;
/* Bits of a page fault's error code; EXITINFO1 of an NPF has VMPL and SIZEM elsewhere */
#define PF_RMP                  (1u << 31)
#define PF_VMPL                 (1u << 30)
#define PF_SIZEM                (1u << 29)
#define NPF_ENC                 (1ull << 34)
#define NPF_SIZEM               (1ull << 35)
#define NPF_VMPL                (1ull << 36)
#define VC_PAGE_NOT_VALIDATED   0x404

/*
 * May the page at @paddr enter the TLB for an access of @type?  The page is
 * mapped with @size (the host) or with @nested_size (a guest).  Rights that
 * have to be asked for again are taken from @prot, bits of a refusal's error
 * code go to @code.
 */
SnpFault snp_check(CPUX86State *env, int mmu_idx, MMUAccessType type, uint64_t paddr,
                   uint64_t size, uint64_t nested_size, int *prot, uint32_t *code);
/* May a page table of the running guest be read at @paddr, the guest's @gpa? */
SnpFault snp_check_walk(CPUX86State *env, uint64_t gpa, uint64_t paddr, uint64_t nested_size,
                        uint32_t *code);

#endif
