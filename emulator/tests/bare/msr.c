/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * MSRs: what they take, and what is left of it.
 */
#include "bare.h"

#define GP              13
#define CLOBBERS        "r11", "memory", "cc"

#define SYSENTER_ESP    0x175
#define SYSENTER_EIP    0x176
#define LSTAR           0xc0000082
#define CSTAR           0xc0000083
#define FS_BASE         0xc0000100
#define GS_BASE         0xc0000101
#define KERNEL_GS_BASE  0xc0000102
#define TSC_AUX         0xc0000103
#define SYSCFG          0xc0010010
#define HWCR            0xc0010015

static GUEST void g_halves(void)
{
    static const uint32_t msrs[] = { SYSENTER_ESP, SYSENTER_EIP, TSC_AUX };
    int i;

    for (i = 0; i < 3; i++) {
        shared->value[0] = msrs[i];
        wrmsr(msrs[i], 0x123456789abcdef0);
        CHECK(rdmsr(msrs[i]) == 0x9abcdef0);
        wrmsr(msrs[i], 0);
    }
}

static bool halves(void)
{
    guest_new(PLAIN, g_halves);
    return guest_ends();
}

static GUEST void g_addresses(void)
{
    static const uint32_t msrs[] = { LSTAR, CSTAR, FS_BASE, GS_BASE, KERNEL_GS_BASE };
    static const uint64_t good[] = { 0x7fffffffffff, 0xffff800000000000, 0x123456789000 };
    static const uint64_t bad[] = { 0x800000000000, 0xffff7fffffffffff, 0xaaaaaaaaaaaaaaaa };
    uint64_t before;
    int i, j;

    for (i = 0; i < 5; i++) {
        shared->value[0] = msrs[i];
        for (j = 0; j < 3; j++) {
            wrmsr(msrs[i], good[j]);
            CHECK(rdmsr(msrs[i]) == good[j]);
            before = traps[GP];
            WATCH("wrmsr", : : "c"(msrs[i]), "a"((uint32_t)bad[j]), "d"(bad[j] >> 32) : CLOBBERS);
            CHECK(traps[GP] == before + 1 && !trap_error);
            CHECK(rdmsr(msrs[i]) == good[j]);
        }
        wrmsr(msrs[i], 0);
    }
}

static bool addresses(void)
{
    guest_new(PLAIN, g_addresses);
    return guest_ends();
}

static GUEST void g_platform(void)
{
    shared->value[0] = rdmsr(SYSCFG);
    shared->value[1] = rdmsr(HWCR);
    pause_guest();
    WATCH("rdmsr", : : "c"(SYSCFG) : "rax", "rdx", CLOBBERS);
}

#define INTERCEPT_MSR   (1u << 28)

/* A guest reads the processor's, if its hypervisor lets it */
static bool platform(void)
{
    static uint8_t all[8192] __attribute__((aligned(4096)));
    uint64_t bitmap;

    guest_new(PLAIN, g_platform);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT) ||
        !EXPECT("SYSCFG.MEM_ENCRYPT", told->value[0] >> 23 & 1, 1) ||
        !EXPECT("SYSCFG", told->value[0], rdmsr(SYSCFG)) ||
        !EXPECT("HWCR.SMMLOCK", told->value[1] & 1, 1) ||
        !EXPECT("HWCR", told->value[1], rdmsr(HWCR))) {
        return false;
    }
    memset(all, 0xff, sizeof(all));
    bitmap = field64(vmcb, MSRPM);
    field64(vmcb, MSRPM) = (uintptr_t)all;
    field32(vmcb, INTERCEPT_3) |= INTERCEPT_MSR;
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_MSR)) {
        return false;
    }
    field64(vmcb, MSRPM) = bitmap;
    field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    return guest_ends();
}

const struct bare_test msr_tests[] = {
    { "SYSENTER_ESP, SYSENTER_EIP and TSC_AUX hold 32 bits", halves },
    { "WRMSR of an address that is not canonical is #GP", addresses },
    { "SYSCFG and HWCR are the processor's in a guest too", platform },
    { NULL, NULL }
};
