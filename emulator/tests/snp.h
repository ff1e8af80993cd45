/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP guests of KVM: their memory and launch, and what such a guest asks
 * its hypervisor for.
 */
#ifndef SNP_H
#define SNP_H

#include "guest.h"
#include "tests.h"

#define PAGE            4096ull
/* Debugging; the bit that must be; more than one thread of a core */
#define SNP_POLICY      (1ull << 19 | 1ull << 17 | 1ull << 16)

/* ---- the hypervisor ---- */

/* Is this host one with SEV-SNP? */
bool snp_host(void);
/* Memory of its own for what is private, all below SHARED at first */
void snp_memory(struct vm *vm);
void snp_private(struct vm *vm, uint64_t gpa, uint64_t len, bool private);
int snp_start(struct vm *vm, uint64_t policy);
int snp_update(struct vm *vm, uint64_t gpa, void *src, uint64_t len, int type);
/* This program and its page tables */
int snp_image(struct vm *vm);
int snp_finish(struct vm *vm);
/* All of that */
void snp_launch(struct vm *vm);
/* Run on; a guest's page state changes are made, and counted */
int snp_run(struct vm *vm);
extern int snp_changes;
/* Run to the guest's end, which it must come to without a failure */
bool snp_ends(struct vm *vm);

/* ---- the guest ---- */

/* Words of the mailbox's page, behind it */
#define WORDS           (SHARED + 0x1000)
#define REQUEST         (SHARED + 0x2000)
#define RESPONSE        (SHARED + 0x3000)
#define CERTIFICATES    (SHARED + 0x4000)

#define VC              29
#define NOT_VALIDATED   0x404

static inline GUEST uint32_t pvalidate(uint64_t va, int large, int on)
{
    uint32_t status;
    bool unchanged;

    asm volatile(".byte 0xf2, 0x0f, 0x01, 0xff" : "=a"(status), "=@ccc"(unchanged)
                 : "a"(va), "c"(large), "d"(on) : "memory");
    return status | (unchanged ? 0x100 : 0);
}

static inline GUEST uint32_t rmpadjust(uint64_t va, uint64_t attributes)
{
    uint32_t status;

    asm volatile(".byte 0xf3, 0x0f, 0x01, 0xfe" : "=a"(status)
                 : "a"(va), "c"(0), "d"(attributes) : "memory", "cc");
    return status;
}

static inline GUEST uint64_t msr_protocol(uint64_t request)
{
    wrmsr(MSR_GHCB, request);
    asm volatile("rep; vmmcall" : : : "memory");
    return rdmsr(MSR_GHCB);
}

#define REGISTER_GHCB()  CHECK(msr_protocol(GHCB | 0x12) == (GHCB | 0x13))
#define PSC(gpa, op)    (0x14 | (gpa) | (uint64_t)(op) << 52)
#define PSC_DONE        0x15
enum { TO_PRIVATE = 1, TO_SHARED };

#define SCRATCH         (GHCB + 0x800)
/* An exit with the GHCB; gives its second information. RAX, RBX and SCRATCH go along. */
uint64_t ghcb_exit(uint64_t code, uint64_t info1, uint64_t info2, uint64_t rax, uint64_t rbx);

extern const struct test snp_tests[], snp_owner_tests[], snp_report_tests[];

#endif
