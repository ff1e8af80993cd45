/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP guests: PVALIDATE and RMPADJUST, VMSAs that a guest makes, and what
 * is private.
 */
#include "snp.h"

#define UD              6
#define VC              29
#define NOT_VALIDATED   0x404
#define PAGE_A          SECRET_PAGE
#define PAGE_B          (SECRET_PAGE + PAGE)
#define PAGE_2M         0x600000ull     /* in the guest, nothing is there yet */

static void launch(void (*fn)(void))
{
    guest_new(SNP, fn);
    guest_launch();
}

static GUEST uint64_t cr2(void)
{
    uint64_t v;

    asm volatile("mov %%cr2, %0" : "=r"(v));
    return v;
}

/* Reading at @va is #VC: the page is not validated */
#define CHECK_NOT_VALIDATED(va) do {                                      \
        uint64_t before_ = traps[VC];                                     \
        WATCH("mov (%0), %%r11", : : "r"(va) : "r11", "memory");          \
        CHECK(traps[VC] == before_ + 1 && trap_error == NOT_VALIDATED);   \
        CHECK(trap_rip == watch_rip && cr2() == (va));                    \
    } while (0)

static GUEST void g_status(void)
{
    CHECK((rdmsr(MSR_SEV_STATUS) & 7) == 7);
    CHECK(!traps[VC]);
}

static bool status(void)
{
    launch(g_status);
    return guest_ends();
}

static GUEST void g_small(void)
{
    volatile uint64_t *p = (void *)PAGE_A;
    bool unchanged;

    CHECK_NOT_VALIDATED(PAGE_A + 8);
    CHECK(!pvalidate(PAGE_A, 0, 1, &unchanged) && !unchanged);
    p[1] = 5;
    CHECK(p[1] == 5);
    CHECK(!pvalidate(PAGE_A, 0, 1, &unchanged) && unchanged);
    pause_guest();
    CHECK(p[1] == 5);
    CHECK(!pvalidate(PAGE_A, 0, 0, &unchanged) && !unchanged);
    CHECK(!pvalidate(PAGE_A, 0, 0, &unchanged) && unchanged);
    CHECK_NOT_VALIDATED(PAGE_A + 8);
}

static bool small_page(void)
{
    uint64_t entry = RMP_ASSIGNED | PAGE_A | RMP_ASID(SNP_ASID);

    launch(g_small);
    snp_give(PAGE_A, 0);
    return EXPECT("entry", rmp(GUEST_MEM + PAGE_A), entry) &&
           EXPECT("exit code", guest_run(), SVM_EXIT_HLT) &&
           EXPECT("entry", rmp(GUEST_MEM + PAGE_A), entry | RMP_VALIDATED) && guest_ends() &&
           EXPECT("entry", rmp(GUEST_MEM + PAGE_A), entry);
}

static GUEST void g_large(void)
{
    volatile uint64_t *first = (void *)PAGE_2M, *last = (void *)(PAGE_2M + LARGE - 8);
    bool unchanged;

    CHECK_NOT_VALIDATED(PAGE_2M + LARGE - 8);
    CHECK(!pvalidate(PAGE_2M, 1, 1, &unchanged) && !unchanged);
    *first = 1;
    *last = 2;
    CHECK(*first == 1 && *last == 2);
    CHECK(!pvalidate(PAGE_2M, 1, 1, &unchanged) && unchanged);
    CHECK(!pvalidate(PAGE_2M, 1, 0, &unchanged) && !unchanged);
    CHECK_NOT_VALIDATED(PAGE_2M + PAGE);
}

static bool large_page(void)
{
    launch(g_large);
    snp_give(PAGE_2M, SIZE_2M);
    return guest_ends();
}

static GUEST void g_sizes(void)
{
    CHECK(pvalidate(PAGE_A, 1, 1, NULL) == FAIL_SIZEMISMATCH);
    CHECK(pvalidate(PAGE_B, 1, 1, NULL) == FAIL_INPUT);
    CHECK_NOT_VALIDATED(PAGE_A);
}

static bool sizes(void)
{
    launch(g_sizes);
    snp_give(PAGE_A, 0);
    snp_give(PAGE_B, 0);
    return guest_ends();
}

static GUEST void g_smash(void)
{
    volatile uint64_t *p = (void *)(PAGE_2M + PAGE);
    bool unchanged;

    CHECK(!pvalidate(PAGE_2M + PAGE, 0, 1, &unchanged) && !unchanged);
    *p = 7;
    CHECK(*p == 7);
    CHECK_NOT_VALIDATED(PAGE_2M);
}

/* 4 KiB of a page that the table has as 2 MiB: the hypervisor has to smash it, then to map it so */
static bool smash(void)
{
    launch(g_smash);
    snp_give(PAGE_2M, SIZE_2M);
    if (!snp_faults(P | U | RMP | FINAL | ENC | SIZEM, PAGE_2M + PAGE) ||
        !EXPECT("PSMASH", psmash(GUEST_MEM + PAGE_2M), 0) ||
        !snp_faults(P | U | RMP | FINAL | ENC, PAGE_2M + PAGE)) {
        return false;
    }
    snp_split(PAGE_2M);
    return guest_ends();
}

static GUEST void g_smashed(void)
{
    volatile uint64_t *p = (void *)(PAGE_2M + 5 * PAGE);

    CHECK(!pvalidate(PAGE_2M, 1, 1, NULL));
    *p = 0x5eed;
    pause_guest();
    CHECK(*p == 0x5eed && !traps[VC]);
    CHECK(pvalidate(PAGE_2M, 1, 1, NULL) == FAIL_SIZEMISMATCH);
}

/* What PSMASH makes is validated as the whole was */
static bool smashed(void)
{
    launch(g_smashed);
    snp_give(PAGE_2M, SIZE_2M);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT) ||
        !EXPECT("PSMASH", psmash(GUEST_MEM + PAGE_2M), 0)) {
        return false;
    }
    snp_split(PAGE_2M);
    return guest_ends();
}

extern void pvalidate_32(void);

/* A firmware's first instructions are no 64-bit code */
static bool code_32(void)
{
    guest_new(SNP, g_status);
    field32(vmsa, 0x010) = 8 | 0xc9bu << 16;    /* CS */
    field64(vmsa, 0x178) = (uintptr_t)pvalidate_32;
    guest_launch();
    snp_give(PAGE_A, 0);
    return EXPECT("exit code", guest_run(), SVM_EXIT_HLT) &&
           EXPECT("EAX", told->value[0], 0) && EXPECT("CF", told->value[1], 0) &&
           EXPECT("VALIDATED", rmp(GUEST_MEM + PAGE_A) & RMP_VALIDATED, RMP_VALIDATED);
}

static GUEST void g_host_instructions(void)
{
    uint64_t a = PAGE_A;

    WATCH(".byte 0xf2, 0x0f, 0x01, 0xfe", : "+a"(a) : "c"(PAGE_A) : "r11", "memory", "cc");
    CHECK(traps[UD] == 1);
    a = PAGE_A;
    WATCH(".byte 0xf3, 0x0f, 0x01, 0xff", : "+a"(a) : : "r11", "memory", "cc");
    CHECK(traps[UD] == 2);
}

static bool host_instructions(void)
{
    launch(g_host_instructions);
    return guest_ends();
}

static GUEST void g_no_snp(void)
{
    uint64_t a = PAGE_A;

    WATCH(".byte 0xf2, 0x0f, 0x01, 0xff", : "+a"(a) : "c"(0), "d"(1) : "r11", "memory", "cc");
    CHECK(traps[UD] == 1);
    a = PAGE_A;
    WATCH(".byte 0xf3, 0x0f, 0x01, 0xfe", : "+a"(a) : "c"(0), "d"(1) : "r11", "memory", "cc");
    CHECK(traps[UD] == 2);
}

static bool no_snp(void)
{
    guest_new(PLAIN, g_no_snp);
    return guest_ends();
}

static GUEST void g_adjust(void)
{
    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    CHECK(!rmpadjust(PAGE_A, 0, 1, 3, 0));
    CHECK(rmpadjust(PAGE_A, 0, 0, 1, 0) == FAIL_PERMISSION);
    CHECK(rmpadjust(PAGE_A, 0, 4, 1, 0) == FAIL_INPUT);
    CHECK(rmpadjust(PAGE_A, 1, 1, 1, 0) == FAIL_SIZEMISMATCH);
    CHECK(rmpadjust(PAGE_B, 1, 1, 1, 0) == FAIL_INPUT);
    CHECK(!traps[VC]);
    WATCH(".byte 0xf3, 0x0f, 0x01, 0xfe", : : "a"(PAGE_B), "c"(0), "d"(1) : "r11", "memory", "cc");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED);
}

static bool adjust(void)
{
    launch(g_adjust);
    snp_give(PAGE_A, 0);
    snp_give(PAGE_B, 0);
    return guest_ends();
}

static GUEST void second_cpu(void)
{
    shared->value[5] = 0x5eed;
    for (;;) {
        pause_guest();
    }
}

#define SA_RSP          0x1d8
#define SA_RIP          0x178

/* Make PAGE_A the VMSA of a CPU that starts with @fn, let it run, and make it an ordinary page again */
static GUEST void with_vmsa(void (*fn)(void))
{
    uint8_t *page = (uint8_t *)PAGE_A;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    memset(page, 0, PAGE);              /* whatever a page holds that is new */
    vmsa_fill(page, fn);
    field64(page, SA_RIP) = (uintptr_t)fn;
    field64(page, SA_RSP) = SHARED + 0x8ff8;
    pause_guest();
    CHECK(!rmpadjust(PAGE_A, 0, 1, 0, MAKE_VMSA));
    pause_guest();
    CHECK(!rmpadjust(PAGE_A, 0, 1, 0, 0));
    page[0] = 1;
    CHECK(page[0] == 1);
}

static GUEST void g_make_vmsa(void)
{
    with_vmsa(second_cpu);
}

/*
 * Enter the guest @fn from its own VMSA, then from the one that it has made, which is none until it says so; then run it to
 * its end
 */
static bool run_second(void (*fn)(void))
{
    uint64_t page = GUEST_MEM + PAGE_A;
    bool ok;

    launch(fn);
    snp_give(PAGE_A, 0);
    ok = EXPECT("exit code", guest_run(), SVM_EXIT_HLT);
    field64(vmcb, VMSA_PA) = page;
    ok &= guest_refused();
    field64(vmcb, VMSA_PA) = VMSA_PAGE;
    ok &= EXPECT("exit code", guest_run(), SVM_EXIT_HLT) &&
          EXPECT("VMSA", rmp(page) & RMP_VMSA, RMP_VMSA) && EXPECT("failed", told->failed, 0);
    field64(vmcb, VMSA_PA) = page;
    ok &= EXPECT("exit code", guest_run(), SVM_EXIT_HLT);
    field64(vmcb, VMSA_PA) = VMSA_PAGE;
    return ok && guest_ends() && EXPECT("VMSA", rmp(page) & RMP_VMSA, 0);
}

/* A page of the guest's is another CPU's VMSA, from RMPADJUST to RMPADJUST */
static bool make_vmsa(void)
{
    return run_second(g_make_vmsa) && EXPECT("the second CPU's word", told->value[5], 0x5eed);
}

static GUEST void own_vmsa(void)
{
    bool unchanged = false;

    shared->value[5] = rmpadjust(PAGE_A, 0, 1, 0, 0);
    shared->value[6] = pvalidate(PAGE_A, 0, 0, &unchanged);
    shared->value[7] = unchanged;
    for (;;) {
        pause_guest();
    }
}

static GUEST void g_own_vmsa(void)
{
    with_vmsa(own_vmsa);
}

/* The page that a CPU runs from stays as it is until it has left */
static bool vmsa_in_use(void)
{
    return run_second(g_own_vmsa) && EXPECT("RMPADJUST", told->value[5], FAIL_INUSE) &&
           EXPECT("PVALIDATE", told->value[6], FAIL_INUSE) && EXPECT("CF", told->value[7], 0);
}

static GUEST void g_vmsa_write(void)
{
    volatile uint64_t *p = (void *)PAGE_A;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    *p = 1;
    CHECK(!rmpadjust(PAGE_A, 0, 1, 0, MAKE_VMSA));
    CHECK(*p == 1);
    shared->value[0] = 1;
    *p = 2;
}

/* A page that is a VMSA cannot be written to */
static bool vmsa_write(void)
{
    launch(g_vmsa_write);
    snp_give(PAGE_A, 0);
    return snp_faults(P | W | U | RMP | FINAL | ENC, PAGE_A) && EXPECT("read before", told->value[0], 1) &&
           EXPECT("the host's write", host_writes((void *)(GUEST_MEM + PAGE_A)), RMP | P | W);
}

#define WORD 0x1122334455667788ull

static GUEST void g_private(void)
{
    volatile uint64_t *p = (void *)PAGE_A, *alias = (void *)ALIAS;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    *p = WORD;
    CHECK(*p == WORD);
    CHECK(*alias != WORD);
}

/* Neither the host nor the guest's access without the C-bit finds what is private */
static bool private(void)
{
    launch(g_private);
    snp_give(PAGE_A, 0);
    return guest_ends() && EXPECT("the host finds it", field64((uint8_t *)GUEST_MEM, PAGE_A) == WORD, 0);
}

static GUEST void g_fetch(void)
{
    static const uint8_t code[] = { 0xb8, 0x77, 0, 0, 0, 0xc3 };        /* MOV EAX, 77h; RET */
    volatile uint8_t *p = (void *)PAGE_A;
    unsigned i;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    for (i = 0; i < sizeof(code); i++) {
        p[i] = code[i];
    }
    CHECK(((uint32_t (*)(void))ALIAS)() == 0x77);
    CHECK(((uint32_t (*)(void))PAGE_A)() == 0x77);
    CHECK(*(volatile uint8_t *)ALIAS != 0xb8 || *(volatile uint8_t *)(ALIAS + 1) != 0x77);
}

/* Code is private, with the C-bit and without */
static bool fetch(void)
{
    launch(g_fetch);
    snp_give(PAGE_A, 0);
    return guest_ends();
}

const struct bare_test snp_guest_tests[] = {
    { "an SNP guest runs, and SEV_STATUS says so", status },
    { "PVALIDATE of 4 KiB, and of what is so already", small_page },
    { "PVALIDATE of 2 MiB", large_page },
    { "PVALIDATE of the wrong size", sizes },
    { "PVALIDATE of 4 KiB of a large page asks the host to smash it", smash },
    { "PSMASH keeps what is validated", smashed },
    { "PVALIDATE in 32-bit code", code_32 },
    { "RMPUPDATE and PSMASH are undefined in a guest", host_instructions },
    { "PVALIDATE and RMPADJUST are undefined without SEV-SNP", no_snp },
    { "RMPADJUST: VMPLs, sizes, and only of a validated page", adjust },
    { "a guest makes another CPU's VMSA", make_vmsa },
    { "the VMSA that a CPU runs from cannot be changed", vmsa_in_use },
    { "a VMSA in a guest's page is read-only", vmsa_write },
    { "private memory of an SNP guest is its alone", private },
    { "an SNP guest's code is private whatever the C-bit", fetch },
    { NULL, NULL }
};
