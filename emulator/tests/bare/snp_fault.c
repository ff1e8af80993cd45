/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP guests: accesses that the reverse map table refuses, and what each
 * fault tells.
 */
#include "snp.h"

#define VC              29
#define NOT_VALIDATED   0x404
#define PAGE_A          (SECRET_PAGE + 0x3000)
#define TABLE           (SECRET_PAGE + 0x7000)  /* of the guest's */
#define TABLE_VA        (1ull << 30)
#define OTHER_2M        0x400000ull             /* no small pages map it */

static void launch(void (*fn)(void))
{
    guest_new(SNP, fn);
    guest_launch();
}

/* The page is refused first, and not validated then */
#define CHECK_REFUSED(insn, va) do {                                      \
        uint64_t before_ = traps[VC];                                     \
        WATCH(insn, : : "r"(va) : "r11", "memory");                       \
        CHECK(traps[VC] == before_ + 1 && trap_error == NOT_VALIDATED);   \
    } while (0)

static GUEST void g_read(void)
{
    CHECK_REFUSED("mov (%0), %%r11", PAGE_A);
    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    *(volatile uint64_t *)PAGE_A = 1;
}

static GUEST void g_write(void)
{
    CHECK_REFUSED("movq $1, (%0)", PAGE_A);
    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    *(volatile uint64_t *)PAGE_A = 1;
}

static void right(void)
{
    snp_take(GUEST_MEM + PAGE_A, GUEST_MEM + PAGE_A + PAGE);
    snp_give(PAGE_A, 0);
}

static bool not_assigned(void)
{
    launch(g_read);
    if (!snp_faults(P | U | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    right();
    if (!guest_ends()) {
        return false;
    }
    launch(g_write);
    if (!snp_faults(P | W | U | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    right();
    return guest_ends();
}

static GUEST void after_call(struct frame *f)
{
    f->rip = watch_next;
    f->rsp += 8;
}

static GUEST void g_fetch(void)
{
    trap_handler = after_call;
    WATCH("call *%0", : : "r"(PAGE_A) : "r11", "memory");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED);
}

static bool not_assigned_fetch(void)
{
    launch(g_fetch);
    if (!snp_faults(P | U | FETCH | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    right();
    return guest_ends();
}

/* The entry is of @gpa and @asid, with @bits */
static bool refused(uint64_t gpa, uint32_t bits, uint32_t asid)
{
    launch(g_read);
    if (!EXPECT("RMPUPDATE", rmpupdate(GUEST_MEM + PAGE_A, gpa, ASSIGNED | bits, asid), 0) ||
        !snp_faults(P | U | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    right();
    return guest_ends();
}

static bool other_asid(void)
{
    return refused(PAGE_A, 0, SNP_ASID + 1) && refused(PAGE_A, 0, 0);
}

static bool other_gpa(void)
{
    return refused(PAGE_A + PAGE, 0, SNP_ASID);
}

static bool pre_guest(void)
{
    return refused(PAGE_A, IMMUTABLE, SNP_ASID);
}

static GUEST void g_sizes(void)
{
    CHECK_REFUSED("mov (%0), %%r11", OTHER_2M);
}

/* A large nested mapping wants a large entry; a small one of a large entry will do */
static bool sizes(void)
{
    launch(g_sizes);
    snp_give(OTHER_2M, 0);
    if (!snp_faults(P | U | RMP | FINAL | ENC, OTHER_2M)) {
        return false;
    }
    snp_split(OTHER_2M);
    if (!guest_ends()) {
        return false;
    }
    launch(g_sizes);
    snp_give(OTHER_2M, SIZE_2M);
    snp_split(OTHER_2M);
    return guest_ends();
}

static GUEST void g_missing(void)
{
    WATCH("mov (%0), %%r11", : : "r"(PAGE_A) : "r11", "memory");
    CHECK(traps[VC] == 1 && trap_error == NOT_VALIDATED);
}

/* ENC tells the hypervisor where to look for the page that is missing */
static bool missing(void)
{
    uint64_t *entry = &nested_pages[(PAGE_A - SECRET_PAGE) >> 12], was;

    launch(g_missing);
    snp_give(PAGE_A, 0);
    was = *entry;
    *entry = 0;
    if (!snp_faults(U | FINAL | ENC, PAGE_A)) {
        return false;
    }
    *entry = was;
    return guest_ends();
}

static GUEST void g_missing_shared(void)
{
    shared->value[0] = *(volatile uint64_t *)(ALIAS + PAGE_A - SECRET_PAGE);
}

static bool missing_shared(void)
{
    uint64_t *entry = &nested_pages[(PAGE_A - SECRET_PAGE) >> 12], was;

    launch(g_missing_shared);
    was = *entry;
    *entry = 0;
    if (!snp_faults(U | FINAL, PAGE_A)) {
        return false;
    }
    *entry = was;
    return guest_ends();
}

static GUEST void g_shared(void)
{
    volatile uint64_t *alias = (void *)(ALIAS + PAGE_A - SECRET_PAGE);

    shared->value[0] = *alias + 1;
    *alias = 5;
    CHECK(*alias == 5);
}

/* Without the C-bit, what is taken is read-only, as it is for the host */
static bool shared_access(void)
{
    launch(g_shared);
    snp_give(PAGE_A, 0);
    if (!snp_faults(P | W | U | RMP | FINAL, PAGE_A) || !EXPECT("the read", told->value[0] != 0, 1)) {
        return false;
    }
    snp_take(GUEST_MEM + PAGE_A, GUEST_MEM + PAGE_A + PAGE);
    return guest_ends() && EXPECT("the host reads", field64((uint8_t *)GUEST_MEM, PAGE_A), 5);
}

static GUEST void g_walk(void)
{
    uint64_t *pdpt = (uint64_t *)(TABLES + 0x1000);

    pdpt[1] = TABLE | processor.c_bit | 7;
    CHECK_REFUSED("mov (%0), %%r11", TABLE_VA + 0x123000);
    CHECK(!pvalidate(TABLE, 0, 1, NULL));
    *(volatile uint64_t *)TABLE = SECRET_PAGE | processor.c_bit | 0x87;
    CHECK(!pvalidate(SECRET_PAGE, 0, 1, NULL));
    *(volatile uint64_t *)SECRET_PAGE = 9;
    CHECK(*(volatile uint64_t *)TABLE_VA == 9);
}

/* A page table of the guest's must be its page too, and validated */
static bool walk(void)
{
    launch(g_walk);
    snp_give(SECRET_PAGE, 0);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_NPF) ||
        !EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1) & ~W, P | U | RMP | WALK | ENC) ||
        !EXPECT("EXITINFO2", field64(vmcb, EXIT_INFO_2), TABLE)) {
        return false;
    }
    snp_give(TABLE, 0);
    return guest_ends();
}

static GUEST void g_taken(void)
{
    volatile uint64_t *p = (void *)PAGE_A;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    *p = 3;
    pause_guest();
    CHECK_REFUSED("mov (%0), %%r11", PAGE_A);
    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
}

/* A page that the host takes and gives back is a new one */
static bool taken(void)
{
    launch(g_taken);
    snp_give(PAGE_A, 0);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    snp_take(GUEST_MEM + PAGE_A, GUEST_MEM + PAGE_A + PAGE);
    if (!snp_faults(P | U | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    snp_give(PAGE_A, 0);
    return guest_ends();
}

static GUEST void g_remapped(void)
{
    volatile uint64_t *p = (void *)PAGE_A;

    CHECK(!pvalidate(PAGE_A, 0, 1, NULL));
    CHECK(!pvalidate(PAGE_A + PAGE, 0, 1, NULL));
    p[0] = 1;
    p[512] = 2;
    pause_guest();
    CHECK(p[0] == 1 && p[512] == 2);
}

/* The host exchanges two pages of the guest's: neither is where it belongs */
static bool remapped(void)
{
    uint64_t *entry = &nested_pages[(PAGE_A - SECRET_PAGE) >> 12], a, b;

    launch(g_remapped);
    snp_give(PAGE_A, 0);
    snp_give(PAGE_A + PAGE, 0);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    a = entry[0];
    b = entry[1];
    entry[0] = b;
    entry[1] = a;
    if (!snp_faults(P | U | RMP | FINAL | ENC, PAGE_A)) {
        return false;
    }
    entry[0] = a;
    if (!snp_faults(P | U | RMP | FINAL | ENC, PAGE_A + PAGE)) {
        return false;
    }
    entry[1] = b;
    return guest_ends();
}

const struct bare_test snp_fault_tests[] = {
    { "a private page that is not assigned is NPF, read or written", not_assigned },
    { "a fetch from a page that is not assigned is NPF", not_assigned_fetch },
    { "a page of another guest, or of the firmware, is NPF", other_asid },
    { "a page for another guest address is NPF", other_gpa },
    { "an immutable page is NPF", pre_guest },
    { "a large nested mapping of a small page is NPF", sizes },
    { "a missing private page is NPF with ENC", missing },
    { "a missing shared page is NPF without ENC", missing_shared },
    { "a shared write to a page that is taken is NPF without ENC", shared_access },
    { "a page table of an SNP guest is its page, and validated", walk },
    { "a page that the host took is gone at once, and new when it is back", taken },
    { "two pages of a guest that the host exchanged are NPF", remapped },
    { NULL, NULL }
};
