/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP: the reverse map table, how the host changes it, and what it may
 * write to. The first of the tests turn SNP on.
 */
#include "snp.h"

#define GPA             0x123456000ull
#define ENTRY(gpa, asid) (RMP_ASSIGNED | (gpa) | RMP_ASID(asid))
#define UD              6

/* CPUID announces SNP and four VMPLs */
static bool announced(void)
{
    uint32_t a = 0x8000001f, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return EXPECT("SEV-SNP and VMPL", a & 0x30, 0x30) && EXPECT("RMPQUERY, segmented RMP", a & 0xa00040, 0) &&
           EXPECT("VMPLs", b >> 12 & 15, 4);
}

/* One entry for each page up to the end of memory, behind 16 KiB; the kernel asks for no less */
static bool registers(void)
{
    uint64_t base = rdmsr(MSR_RMP_BASE), end = rdmsr(MSR_RMP_END) + 1;

    return EXPECT("base", base & 0xfff, 0) && EXPECT("end", end & 0xfff, 0) &&
           EXPECT("enough entries", end - base >= 0x4000 + end / PAGE * 16, 1);
}

#define TRY(prefix, last, rcx, rdx) do {                                  \
        uint64_t rax_ = TEST;                                             \
        WATCH(".byte " #prefix ", 0x0f, 0x01, " #last                     \
              , : "+a"(rax_) : "c"(rcx), "d"(rdx) : "r11", "memory", "cc"); \
    } while (0)

/* How many of SNP's instructions are undefined? */
static int undefined(void)
{
    int n;

    TRY(0xf2, 0xfe, TEST, 0);           /* RMPUPDATE */
    TRY(0xf3, 0xff, 0, 0);              /* PSMASH */
    TRY(0xf2, 0xff, 0, 0);              /* PVALIDATE */
    TRY(0xf3, 0xfe, 0, 1);              /* RMPADJUST */
    TRY(0xf2, 0xfd, TEST, 0);           /* RMPREAD */
    TRY(0xf3, 0xfd, 0, 0);              /* RMPQUERY */
    n = traps[UD];
    traps[UD] = 0;
    return n;
}

static bool before(void)
{
    memset((void *)TEST, 0, PAGE);
    return EXPECT("undefined", undefined(), 6);
}

/* MFDM, MEM_ENCRYPT, SNP_EN and VMPL_EN on each CPU, and no VM_HSAVE_PA */
static bool init_wants(void)
{
    uint64_t *p = (uint64_t *)rdmsr(MSR_RMP_BASE);
    uint32_t sev_init[5] = { 0 };

    guest_forget();
    wrmsr(MSR_HSAVE, 0);
    if (!EXPECT("SHUTDOWN", firmware(0x02, NULL), 0) ||
        !EXPECT("without SNP_EN", snp_init(1, 0), ST_CONFIG)) {
        return false;
    }
    memset(p, 0, rdmsr(MSR_RMP_END) + 1 - (uintptr_t)p);
    wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | SYSCFG_SNP_EN | SYSCFG_VMPL_EN);
    if (!EXPECT("without MFDM", snp_init(1, 0), ST_CONFIG)) {
        return false;
    }
    wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | SYSCFG_MFDM);
    wrmsr(MSR_HSAVE, (uintptr_t)hsave);
    if (!EXPECT("with VM_HSAVE_PA", snp_init(1, 0), ST_CONFIG)) {
        return false;
    }
    wrmsr(MSR_HSAVE, 0);
    return EXPECT("an unknown flag", snp_init(5, 0), ST_PARAM) &&
           EXPECT("INIT", firmware(0x01, sev_init), 0) &&
           EXPECT("after INIT", snp_init(1, 0), ST_PLATFORM_STATE) &&
           EXPECT("SHUTDOWN", firmware(0x02, NULL), 0);
}

static bool sticky(void)
{
    uint64_t was = rdmsr(MSR_SYSCFG);

    wrmsr(MSR_SYSCFG, was & ~(uint64_t)(SYSCFG_SNP_EN | SYSCFG_VMPL_EN | SYSCFG_MFDM));
    if (!EXPECT("SNP_EN and VMPL_EN", rdmsr(MSR_SYSCFG) & (SYSCFG_SNP_EN | SYSCFG_VMPL_EN | SYSCFG_MFDM),
                SYSCFG_SNP_EN | SYSCFG_VMPL_EN)) {
        return false;
    }
    wrmsr(MSR_SYSCFG, was);
    return EXPECT("SYSCFG", rdmsr(MSR_SYSCFG), was);
}

/* What the list of SNP_INIT_EX names is the hypervisor's for good */
static bool init(void)
{
    static struct { uint32_t n, reserved; uint64_t base; uint32_t pages, reserved2; } list
        __attribute__((aligned(4096)));
    uint64_t fixed = TEST + 2 * LARGE;

    list.n = 1;
    list.base = fixed + 1;
    list.pages = 2;
    if (!EXPECT("a base that is no page's", snp_init(3, (uintptr_t)&list), ST_ADDRESS)) {
        return false;
    }
    list.base = fixed;
    if (!EXPECT("SNP_INIT_EX", snp_init(3, (uintptr_t)&list), 0) ||
        !EXPECT("again", snp_init(1, 0), ST_PLATFORM_STATE)) {
        return false;
    }
    wrmsr(MSR_HSAVE, (uintptr_t)hsave);
    snp_pages();
    return EXPECT("the first page", rmp(fixed), RMP_IMMUTABLE) &&
           EXPECT("the last page", rmp(fixed + PAGE), RMP_IMMUTABLE) &&
           EXPECT("the page behind", rmp(fixed + 2 * PAGE), 0) &&
           EXPECT("the host's write", host_writes(small(fixed)), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(fixed, 0, ASSIGNED, 1), FAIL_PERMISSION) &&
           EXPECT("RMPUPDATE", rmpupdate(fixed, 0, 0, 0), FAIL_PERMISSION);
}

/* The table itself belongs to the firmware now */
static bool table(void)
{
    uint64_t base = rdmsr(MSR_RMP_BASE), mid = base + 0x4000 + TEST / PAGE * 16;

    return EXPECT("entry of its first page", rmp(base), RMP_ASSIGNED | RMP_IMMUTABLE) &&
           EXPECT("the host's write", host_writes((void *)mid), RMP | P | W) &&
           EXPECT("CR2", host_cr2, mid) && EXPECT("the host's read", host_reads((void *)mid), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(base, 0, 0, 0), FAIL_PERMISSION);
}

/* ---- RMPUPDATE ---- */

static bool small_page(void)
{
    return EXPECT("before", rmp(TEST), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, GPA, ASSIGNED, 9), 0) &&
           EXPECT("entry", rmp(TEST), ENTRY(GPA, 9)) &&
           EXPECT("its neighbour's", rmp(TEST + PAGE), 0) &&
           /* Of another guest, then of the hypervisor again */
           EXPECT("RMPUPDATE", rmpupdate(TEST, GPA + PAGE, ASSIGNED, 10), 0) &&
           EXPECT("entry", rmp(TEST), ENTRY(GPA + PAGE, 10)) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, GPA, 0, 10), 0) && EXPECT("entry", rmp(TEST), 0);
}

static bool large_page(void)
{
    return EXPECT("RMPUPDATE", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M, 9), 0) &&
           EXPECT("entry", rmp(TEST), ENTRY(LARGE, 9) | RMP_2M) &&
           EXPECT("write to the first page", host_writes(small(TEST)), RMP | P | W) &&
           EXPECT("write to the last page", host_writes(small(TEST + LARGE - PAGE)), RMP | P | W) &&
           EXPECT("write behind", host_writes(small(TEST + LARGE)), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, 0, SIZE_2M, 0), 0) &&
           EXPECT("write to the last page", host_writes(small(TEST + LARGE - PAGE)), 0);
}

static bool input(void)
{
    uint64_t end = rdmsr(MSR_RMP_END) + 1;

    return EXPECT("a byte in a page", rmpupdate(TEST + 8, GPA, ASSIGNED, 9), FAIL_INPUT) &&
           EXPECT("2 MiB at a page", rmpupdate(TEST + PAGE, LARGE, ASSIGNED | SIZE_2M, 9), FAIL_INPUT) &&
           EXPECT("beyond the table", rmpupdate(end, GPA, ASSIGNED, 9), FAIL_INPUT) &&
           EXPECT("an ASID that is none", rmpupdate(TEST, GPA, ASSIGNED, 0x400), FAIL_INPUT) &&
           EXPECT("entry", rmp(TEST), 0);
}

static bool overlap(void)
{
    return EXPECT("RMPUPDATE", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M, 9), 0) &&
           EXPECT("a page of 2 MiB", rmpupdate(TEST + PAGE, GPA, ASSIGNED, 9), FAIL_OVERLAP) &&
           EXPECT("its first page", rmpupdate(TEST, 0, 0, 0), FAIL_OVERLAP) &&
           EXPECT("entry", rmp(TEST), ENTRY(LARGE, 9) | RMP_2M) &&
           EXPECT("back", rmpupdate(TEST, 0, SIZE_2M, 0), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST + 3 * PAGE, GPA, ASSIGNED, 9), 0) &&
           EXPECT("2 MiB around a page", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M, 9), FAIL_OVERLAP) &&
           EXPECT("entry", rmp(TEST), 0) && EXPECT("back", rmpupdate(TEST + 3 * PAGE, 0, 0, 0), 0);
}

/* The firmware alone takes it out of this state */
static bool immutable(void)
{
    return EXPECT("RMPUPDATE", rmpupdate(TEST, 0, FIRMWARE_PAGE, 0), 0) &&
           EXPECT("entry", rmp(TEST), RMP_ASSIGNED | RMP_IMMUTABLE) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, 0, 0, 0), FAIL_PERMISSION) &&
           EXPECT("2 MiB around it", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M, 9), FAIL_PERMISSION) &&
           EXPECT("PAGE_RECLAIM", snp_command(CMD_PAGE_RECLAIM, TEST, 0, 0, 0), 0) &&
           EXPECT("entry", rmp(TEST), RMP_ASSIGNED) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, 0, 0, 0), 0) && EXPECT("entry", rmp(TEST), 0);
}

/* ---- PSMASH ---- */

static bool smash(void)
{
    uint64_t i;

    if (!EXPECT("RMPUPDATE", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M, 9), 0) ||
        !EXPECT("PSMASH", psmash(TEST), 0)) {
        return false;
    }
    for (i = 0; i < 512; i++) {
        if (!EXPECT("entry", rmp(TEST + i * PAGE), ENTRY(LARGE + i * PAGE, 9)) ||
            !EXPECT("RMPUPDATE", rmpupdate(TEST + i * PAGE, 0, 0, 0), 0)) {
            return false;
        }
    }
    return true;
}

static bool smash_refused(void)
{
    return EXPECT("of nobody's page", psmash(TEST), FAIL_PERMISSION) &&
           EXPECT("at a page", psmash(TEST + PAGE), FAIL_INPUT) &&
           EXPECT("beyond the table", psmash(rdmsr(MSR_RMP_END) + 1), FAIL_INPUT) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, GPA, ASSIGNED, 9), 0) &&
           EXPECT("of a small page", psmash(TEST), FAIL_PERMISSION) &&
           EXPECT("back", rmpupdate(TEST, 0, 0, 0), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M | IMMUTABLE, 9), 0) &&
           EXPECT("of an immutable page", psmash(TEST), FAIL_PERMISSION) &&
           EXPECT("PAGE_RECLAIM", snp_command(CMD_PAGE_RECLAIM, TEST | 1, 0, 0, 0), 0) &&
           EXPECT("back", rmpupdate(TEST, 0, SIZE_2M, 0), 0) && EXPECT("entry", rmp(TEST), 0);
}

/* ---- the host's accesses ---- */

static bool host_write(void)
{
    *small(TEST) = 7;
    return EXPECT("before", host_writes(small(TEST)), 0) &&
           EXPECT("RMPUPDATE", rmpupdate(TEST, GPA, ASSIGNED, 9), 0) &&
           EXPECT("error code", host_writes(small(TEST) + 9), RMP | P | W) &&
           EXPECT("CR2", host_cr2, (uintptr_t)small(TEST) + 9) &&
           EXPECT("again", host_writes(small(TEST)), RMP | P | W) &&
           EXPECT("a read", host_reads(small(TEST)), 0) &&
           EXPECT("after a read", host_writes(small(TEST)), RMP | P | W) &&
           EXPECT("back", rmpupdate(TEST, 0, 0, 0), 0) &&
           EXPECT("after it", host_writes(small(TEST)), 0);
}

/* A large mapping is writable if nothing in it is taken */
static bool host_large(void)
{
    return EXPECT("RMPUPDATE", rmpupdate(TEST + 5 * PAGE, GPA, ASSIGNED, 9), 0) &&
           EXPECT("by a large mapping", host_writes((void *)TEST), RMP | P | W) &&
           EXPECT("by a small one", host_writes(small(TEST)), 0) &&
           EXPECT("other 2 MiB", host_writes((void *)(TEST + LARGE)), 0) &&
           EXPECT("a read", host_reads((void *)(TEST + 5 * PAGE)), 0) &&
           EXPECT("back", rmpupdate(TEST + 5 * PAGE, 0, 0, 0), 0) &&
           EXPECT("by a large mapping", host_writes((void *)TEST), 0);
}

static bool in_force(void)
{
    return EXPECT("undefined", undefined(), 4);         /* RMPREAD and RMPQUERY are not announced */
}

const struct bare_test rmp_tests[] = {
    { "CPUID announces SEV-SNP and four VMPLs", announced },
    { "RMP_BASE and RMP_END have room for all memory", registers },
    { "no instruction of SNP is there before SNP_EN", before },
    { "SNP_INIT_EX wants SYSCFG and VM_HSAVE_PA in order", init_wants },
    { "SNP_EN and VMPL_EN stay set", sticky },
    { "SNP_INIT_EX: pages of its list are immutable, and the hypervisor's", init },
    { "SNP_INIT_EX: the table is the firmware's", table },
    { "with SNP_EN: RMPUPDATE and PSMASH, no instructions that a guest has", in_force },
    { "RMPUPDATE of 4 KiB", small_page },
    { "RMPUPDATE of 2 MiB", large_page },
    { "RMPUPDATE refuses what is no page, and no ASID", input },
    { "RMPUPDATE refuses what overlaps", overlap },
    { "RMPUPDATE refuses an immutable page", immutable },
    { "PSMASH makes 512 entries of one", smash },
    { "PSMASH refuses what is no large page of a guest's", smash_refused },
    { "the host's write to a page that is taken is #PF", host_write },
    { "the host's large mapping is read-only if any of it is taken", host_large },
    { NULL, NULL }
};

static bool nothing_there(void)
{
    uint32_t a = 0x8000001f, b, c = 0, d;
    uint64_t was = rdmsr(MSR_SYSCFG);

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    wrmsr(MSR_SYSCFG, was | SYSCFG_SNP_EN);
    return EXPECT("SEV-SNP and VMPL", a & 0x30, 0) && EXPECT("VMPLs", b >> 12 & 15, 0) &&
           EXPECT("SYSCFG", rdmsr(MSR_SYSCFG), was) && EXPECT("RMP_BASE", rdmsr(MSR_RMP_BASE), 0) &&
           EXPECT("undefined", undefined(), 6) &&
           EXPECT("SNP_PLATFORM_STATUS", snp_command(CMD_PLATFORM_STATUS, TEST, 0, 0, 0), ST_COMMAND);
}

const struct bare_test no_snp_tests[] = {
    { "a processor without SEV-SNP has nothing of it", nothing_there },
    { NULL, NULL }
};
