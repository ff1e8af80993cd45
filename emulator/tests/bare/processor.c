/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What processors with SEV differ in: each is the one that QEMU was asked for.
 */
#include "bare.h"

#define PF              14
#define RESERVED_READ   9               /* error code: P, RSVD */

/* Where the C-bit of other processors is */
static uint64_t other_c_bit(void)
{
    return processor.c_bit == 1ull << 51 ? 1ull << 47 : 1ull << 51;
}

static bool announced(void)
{
    return EXPECT("C-bit", processor.c_bit, 1ull << asked("x-sev-cbit=", 51)) &&
           EXPECT("ASIDs", processor.asids, asked("x-sev-asids=", 32)) &&
           EXPECT("first ASID of SEV guests", processor.min_sev_asid, asked("x-sev-min-asid=", 16)) &&
           EXPECT("DebugSwap", processor.debug_swap, asked("x-sev-debug-swap=", true));
}

static GUEST void g_c_bit(void)
{
    volatile uint64_t *pd = (uint64_t *)(TABLES + 0x2000);

    WATCH("mov (%0), %%r11", : : "r"(ALIAS) : "r11", "memory");
    CHECK(traps[PF] == 1 && trap_error == RESERVED_READ);
    pd[ALIAS >> 21] = SECRET_PAGE | processor.c_bit | 0x87;
    *(volatile uint64_t *)ALIAS = 7;
    CHECK(*(volatile uint64_t *)SECRET_PAGE == 7);
}

/* One bit makes a page private, in every level of the guest's tables; another is reserved */
static bool c_bit(enum type type)
{
    uint64_t *pd = (uint64_t *)(GUEST_MEM + TABLES + 0x2000);

    guest_new(type, g_c_bit);
    pd[ALIAS >> 21] = SECRET_PAGE | other_c_bit() | 0x87;
    guest_launch();
    return guest_ends() && EXPECT("the host sees it", field64((uint8_t *)GUEST_MEM, SECRET_PAGE) == 7, 0);
}

static bool c_bit_of_tables(void)
{
    return c_bit(SEV) && c_bit(SEV_ES);
}

/* Other bits above the addresses are refused */
static bool c_bit_of_cr3(void)
{
    guest_new(SEV, g_c_bit);
    guest_launch();
    field64(vmcb, SAVE + SA_CR3) = TABLES | other_c_bit();
    return guest_refused();
}

/* Activates its last ASID, and none beyond; the firmware alone lets an ASID run */
static bool asids(enum type type, uint32_t first, uint32_t last)
{
    uint32_t start[9] = { 0, type == SEV_ES ? 4 : 0 }, asid[2], beyond[2] = { 0, last + 1 };
    bool ok;

    guest_new(type, g_c_bit);
    guest_launch();                     /* the firmware is up */
    guest_forget();
    ok = EXPECT("LAUNCH_START", firmware(0x30, start), 0);
    asid[0] = beyond[0] = start[0];
    asid[1] = last;
    ok &= EXPECT("an ASID beyond", firmware(0x21, beyond), 0xd) && EXPECT("the last ASID", firmware(0x21, asid), 0);
    firmware(0x22, asid);               /* DEACTIVATE */
    asid[1] = first;
    beyond[1] = first - 1;
    ok &= EXPECT("an ASID before", firmware(0x21, beyond), 0xd) && EXPECT("the first ASID", firmware(0x21, asid), 0);
    firmware(0x22, asid);
    return EXPECT("DECOMMISSION", firmware(0x20, asid), 0) && EXPECT("DF_FLUSH", firmware(0x0a, NULL), 0) && ok;
}

static bool asids_of_firmware(void)
{
    return asids(SEV_ES, 1, processor.min_sev_asid - 1) && asids(SEV, processor.min_sev_asid, processor.asids);
}

const struct bare_test processor_tests[] = {
    { "CPUID 0x8000001F tells the processor that was asked for", announced },
    { "the C-bit is where CPUID tells; where others have it, a bit is reserved", c_bit_of_tables },
    { "VMRUN refuses a CR3 with another processor's C-bit", c_bit_of_cr3 },
    { "ACTIVATE: the first ASID of each kind and the last, and none beyond", asids_of_firmware },
    { NULL, NULL }
};
