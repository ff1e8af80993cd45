/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers that change over between the host's save area and the VMSA.
 */
#include "bare.h"

#define PATTERN(i) ((uint8_t)((i) * 37 + 11))

/* AVX registers @from memory, or into it; the compiler must not use them */
#define ALL_YMM(op) \
    op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) \
    op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LOAD(n) "vmovdqu " #n "*32(%0), %%ymm" #n ";"
#define STORE(n) "vmovdqu %%ymm" #n ", " #n "*32(%0);"
#define load_ymm(area) asm volatile(ALL_YMM(LOAD) : : "r"(area) : "memory")
#define store_ymm(area) asm volatile(ALL_YMM(STORE) : : "r"(area) : "memory")

static GUEST void g_avx(void)
{
    static uint8_t area[512];
    int round, i;

    /* Before any instruction of the guest's that touches them: its VMSA's */
    for (round = 0; round < 2; round++) {
        store_ymm(area);
        for (i = 0; i < 512; i++) {
            shared->value[0] = i;
            CHECK(area[i] == (uint8_t)(PATTERN(i) + round));
            area[i]++;
        }
        load_ymm(area);
        pause_guest();
    }
    CHECK(!traps[VC]);
}

static bool avx(void)
{
    static uint8_t area[512];
    int i, j;

    guest_new(SEV_ES, g_avx);
    field64(vmsa, 0x148) |= 0x40000;    /* CR4.OSXSAVE */
    field64(vmsa, 0x3e8) = 7;           /* XCR0 */
    for (i = 0; i < 16; i++) {
        for (j = 0; j < 16; j++) {
            vmsa[0x470 + 16 * i + j] = PATTERN(32 * i + j);
            vmsa[0x570 + 16 * i + j] = PATTERN(32 * i + 16 + j);
        }
    }
    guest_launch();
    for (i = 0; i < 3; i++) {
        memset(area, 0xee, sizeof(area));
        load_ymm(area);
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        store_ymm(area);
        for (j = 0; j < 512; j++) {
            if (!EXPECT("the host's YMM after the exit", area[j], 0)) {
                return false;
            }
        }
    }
    return guest_ends();
}

static GUEST void g_x87(void)
{
    static uint8_t area[512] __attribute__((aligned(16)));
    int i, j;

    asm volatile("fxsave %0" : "=m"(area) : : "memory");
    shared->value[0] = *(uint32_t *)area;
    CHECK(*(uint16_t *)area == 0x27f);          /* FCW */
    CHECK(*(uint16_t *)(area + 2) == 0x1900);   /* FSW: TOP 3, C0 */
    CHECK(area[4] == 0x28);                     /* FTW, abridged */
    CHECK(*(uint32_t *)(area + 24) == 0x9fc0);  /* MXCSR */
    for (i = 0; i < 8; i++) {
        for (j = 0; j < 10; j++) {
            CHECK(area[32 + 16 * i + j] == PATTERN(j < 8 ? 8 * i + j :
                                                   56 + 2 * i + j));
        }
    }
}

/* x87: eight mantissas, then eight exponents */
static bool x87(void)
{
    int i;

    guest_new(SEV_ES, g_x87);
    field32(vmsa, 0x408) = 0x9fc0;
    field64(vmsa, 0x40c) = 0x28 | 0x1900ull << 16 | 0x27full << 32;
    for (i = 0; i < 80; i++) {
        vmsa[0x420 + i] = PATTERN(i);
    }
    guest_launch();
    return guest_ends();
}

static uint64_t dr(int n)
{
    uint64_t v[4];

    asm volatile("mov %%dr0, %0; mov %%dr1, %1; mov %%dr2, %2; mov %%dr3, %3"
                 : "=r"(v[0]), "=r"(v[1]), "=r"(v[2]), "=r"(v[3]));
    return v[n];
}

static void set_dr(uint64_t v)
{
    asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3"
                 : : "r"(v), "r"(v + 1), "r"(v + 2), "r"(v + 3));
}

#define HOST_DR         0x1000
#define SAVED_DR        0x2000
#define GUEST_DR        0x3000

static GUEST void g_debug_swap(void)
{
    uint64_t v;

    CHECK(rdmsr(MSR_SEV_STATUS) == (3 | 1 << 7));
    asm volatile("mov %%dr0, %0" : "=r"(v));
    CHECK(v == GUEST_DR);
    asm volatile("mov %%dr3, %0" : "=r"(v));
    CHECK(v == GUEST_DR + 3);
    asm volatile("mov %0, %%dr0" : : "r"(GUEST_DR + 0x100ull));
    pause_guest();
    asm volatile("mov %%dr0, %0" : "=r"(v));
    CHECK(v == GUEST_DR + 0x100);
    CHECK(!traps[VC]);
}

/* With it, DR0 to DR3 are the VMSA's and the host's save area's */
static bool debug_swap(void)
{
    int i;

    guest_new(SEV_ES, g_debug_swap);
    field64(vmsa, 0x3b0) = 1 << 5;      /* SEV_FEATURES */
    for (i = 0; i < 4; i++) {
        field64(vmsa, 0x180 + 8 * i) = GUEST_DR + i;
        field64(hsave, SAVE + 0x180 + 8 * i) = SAVED_DR + i;
    }
    guest_launch();
    set_dr(HOST_DR);
    return EXPECT("exit code", guest_run(), SVM_EXIT_HLT) &&
           EXPECT("DR0", dr(0), SAVED_DR) && EXPECT("DR3", dr(3), SAVED_DR + 3) &&
           guest_ends() && EXPECT("DR0", dr(0), SAVED_DR);
}

/* A processor without it takes its bit for a reserved one */
static bool debug_swap_refused(void)
{
    guest_new(SEV_ES, g_debug_swap);
    field64(vmsa, 0x3b0) = 1 << 5;
    guest_launch();
    return guest_refused();
}

static GUEST void g_no_debug_swap(void)
{
    uint64_t v;

    CHECK(rdmsr(MSR_SEV_STATUS) == 3);
    asm volatile("mov %%dr0, %0" : "=r"(v));
    CHECK(v == HOST_DR);
    asm volatile("mov %0, %%dr0" : : "r"(GUEST_DR + 0x100ull));
}

/* Without it, VMRUN does not load them */
static bool no_debug_swap(void)
{
    guest_new(SEV_ES, g_no_debug_swap);
    field64(vmsa, 0x180) = GUEST_DR;
    guest_launch();
    set_dr(HOST_DR);
    return guest_ends() && EXPECT("DR0", dr(0), GUEST_DR + 0x100);
}

static uint64_t read_msr(uint32_t msr)
{
    return rdmsr(msr);
}

static const struct { uint32_t msr; int offset; } type_b[] = {
    { 0xc0000081, 0x200 }, { 0xc0000082, 0x208 }, { 0xc0000083, 0x210 },
    { 0xc0000084, 0x218 }, { 0xc0000102, 0x220 }, { 0x175, 0x230 },
    { 0x176, 0x238 }, { 0xc0000100, 0x48 }, { 0xc0000101, 0x58 },
};

static GUEST void g_type_b(void)
{
    unsigned i;

    for (i = 0; i < sizeof(type_b) / sizeof(type_b[0]); i++) {
        shared->value[0] = i;
        CHECK(rdmsr(type_b[i].msr) == 0x10000 + 0x100 * i);
        wrmsr(type_b[i].msr, 0x30000 + 0x100 * i);
    }
    asm volatile("mov $-1, %%r12; mov $-1, %%rbx" : : : "rbx", "r12");
}

/*
 * Type B state comes from the VMSA at VMRUN and from the host's save area at
 * #VMEXIT, where the hypervisor has put it, whatever the host had in between
 */
static bool type_b_state(void)
{
    unsigned i, n = sizeof(type_b) / sizeof(type_b[0]);
    bool ok = true;

    guest_new(SEV_ES, g_type_b);
    for (i = 0; i < n; i++) {
        field64(vmsa, type_b[i].offset) = 0x10000 + 0x100 * i;
        field64(hsave, SAVE + type_b[i].offset) = 0x20000 + 0x100 * i;
    }
    for (i = 1; i < 16; i++) {
        field64(hsave, SAVE + 0x300 + 8 * i) = 0x5eed0000 + i;
    }
    guest_launch();
    ok = EXPECT("exit code", guest_run(), SVM_EXIT_HLT);
    for (i = 0; ok && i < n; i++) {
        ok = EXPECT("the host's MSR", read_msr(type_b[i].msr), 0x20000 + 0x100 * i);
    }
    for (i = 1; ok && i < 16; i++) {
        ok = i == 4 || EXPECT("the host's register", regs[i], 0x5eed0000 + i);
    }
    return ok && told->done && EXPECT("failed", told->failed, 0);
}

static GUEST void g_lbrv(void)
{
    pause_guest();
}

/* KVM needs all four for SEV-ES; LBR virtualization is always on then */
static bool lbrv(void)
{
    uint32_t a = 0x8000000a, b, c = 0, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    guest_new(SEV_ES, g_lbrv);
    field64(vmsa, SA_DBGCTL) = 0;
    field64(vmcb, VIRT_EXT) = 1;
    guest_launch();
    return EXPECT("LBRV, NRIPS, FlushByAsid, decode assists", d & 0xca, 0xca) &&
           guest_ends() && EXPECT("LBR control", field64(vmcb, VIRT_EXT), 1);
}

const struct bare_test debug_swap_tests[] = {
    { "DebugSwap: DR0 to DR3 change over", debug_swap },
    { NULL, NULL }
};

const struct bare_test no_debug_swap_tests[] = {
    { "VMRUN refuses DebugSwap that is not announced", debug_swap_refused },
    { NULL, NULL }
};

const struct bare_test state_tests[] = {
    { "AVX state is the VMSA's; the host gets none of it", avx },
    { "x87 state is the VMSA's, and MXCSR", x87 },
    { "without DebugSwap they do not", no_debug_swap },
    { "type B state changes over with the host's save area", type_b_state },
    { "an SEV-ES guest with LBR virtualization runs", lbrv },
    { NULL, NULL }
};
