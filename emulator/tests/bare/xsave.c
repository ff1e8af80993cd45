/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * XSAVEC, and XRSTOR of what it writes: the compacted form, which a Linux guest
 * of SEV-SNP wants.
 */
#include "bare.h"

#define GP              13
#define COMPACTED       (1ull << 63)
#define XSTATE_BV       512
#define XCOMP_BV        520
#define EXTENDED        576             /* the first component behind x87 and SSE */
#define AVX             4
#define PKRU            0x200
#define CR4_PKE         (1u << 22)

static uint8_t area[4096] __attribute__((aligned(64)));

static void xsavec(uint32_t mask)
{
    memset(area, 0xee, sizeof(area));
    memset(area + XSTATE_BV, 0, 64);            /* what of the header is not written must be 0 */
    asm volatile("xsavec %0" : "+m"(area) : "a"(mask), "d"(0) : "memory");
}

/* Does XRSTOR of @mask take it, or is it #GP? */
static bool xrstor(uint32_t mask)
{
    bool ok;

    WATCH("xrstor (%0)", : : "r"(area), "a"(mask), "d"(0) : "r11", "memory");
    ok = !traps[GP];
    traps[GP] = 0;
    return ok;
}

static void set_ymm0(uint64_t low, uint64_t high)
{
    uint64_t v[4] = { low, low, high, high };

    asm volatile("vmovdqu %0, %%ymm0" : : "m"(v));
}

static uint64_t ymm0(int half)
{
    uint64_t v[4];

    asm volatile("vmovdqu %%ymm0, %0" : "=m"(v));
    return v[2 * half];
}

static void pkru(bool on, uint32_t value)
{
    uint64_t cr4;

    asm volatile("mov %%cr4, %0" : "=r"(cr4));
    asm volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_PKE));
    asm volatile("xsetbv" : : "a"(on ? 7 | PKRU : 7), "c"(0), "d"(0));
    asm volatile("wrpkru" : : "a"(value), "c"(0), "d"(0));
    if (!on) {
        asm volatile("mov %0, %%cr4" : : "r"(cr4 & ~(uint64_t)CR4_PKE));
    }
}

static bool announced(void)
{
    uint32_t a = 0xd, b, c = 1, d;

    asm volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    return EXPECT("XSAVEC", a >> 1 & 1, 1);
}

static bool header(void)
{
    set_ymm0(1, 2);
    xsavec(7);
    if (!EXPECT("XCOMP_BV", field64(area, XCOMP_BV), COMPACTED | 7) ||
        !EXPECT("XSTATE_BV", field64(area, XSTATE_BV) & AVX, AVX) ||
        !EXPECT("XMM0", field64(area, 160), 1) || !EXPECT("upper half of YMM0", field64(area, EXTENDED), 2)) {
        return false;
    }
    /* A part of what is there: RFBM, and nothing behind it */
    xsavec(3);
    return EXPECT("XCOMP_BV", field64(area, XCOMP_BV), COMPACTED | 3) &&
           EXPECT("behind the header", field64(area, EXTENDED), 0xeeeeeeeeeeeeeeee);
}

/* No gap in front of a component whose predecessors are left out */
static bool compacted(void)
{
    bool ok;

    pkru(true, 0x5a0);
    xsavec(7 | PKRU);
    ok = EXPECT("PKRU behind AVX", field32(area, EXTENDED + 256), 0x5a0);
    xsavec(1 | PKRU);
    ok &= EXPECT("PKRU behind the header", field32(area, EXTENDED), 0x5a0) &&
          EXPECT("XCOMP_BV", field64(area, XCOMP_BV), COMPACTED | 1 | PKRU);
    pkru(false, 0);
    return ok;
}

/* What is in RFBM and not in XSTATE_BV starts anew; what is not in RFBM stays */
static bool restored(void)
{
    set_ymm0(0x11, 0x22);
    xsavec(7);
    set_ymm0(0x33, 0x44);
    if (!EXPECT("XRSTOR", xrstor(7), 1) || !EXPECT("low half", ymm0(0), 0x11) ||
        !EXPECT("high half", ymm0(1), 0x22)) {
        return false;
    }
    set_ymm0(0x33, 0x44);
    field64(area, XSTATE_BV) &= ~(uint64_t)AVX;
    if (!EXPECT("XRSTOR", xrstor(3), 1) || !EXPECT("low half", ymm0(0), 0x11) ||
        !EXPECT("high half", ymm0(1), 0x44)) {
        return false;
    }
    return EXPECT("XRSTOR", xrstor(7), 1) && EXPECT("low half", ymm0(0), 0x11) &&
           EXPECT("high half", ymm0(1), 0);
}

static bool bad_header(void)
{
    xsavec(3);
    field64(area, XSTATE_BV) |= AVX;            /* not in XCOMP_BV */
    if (!EXPECT("XRSTOR", xrstor(7), 0)) {
        return false;
    }
    xsavec(7);
    field64(area, XCOMP_BV) |= PKRU;            /* not in XCR0 */
    if (!EXPECT("XRSTOR", xrstor(7), 0)) {
        return false;
    }
    xsavec(7);
    field64(area, XCOMP_BV + 8) = 1;            /* reserved */
    if (!EXPECT("XRSTOR", xrstor(7), 0)) {
        return false;
    }
    xsavec(7);
    return EXPECT("XRSTOR", xrstor(7), 1);
}

const struct bare_test xsave_tests[] = {
    { "CPUID announces XSAVEC", announced },
    { "XSAVEC: header, and what is saved", header },
    { "XSAVEC leaves no gaps", compacted },
    { "XRSTOR of the compacted form", restored },
    { "XRSTOR refuses a header of the compacted form that is none", bad_header },
    { NULL, NULL }
};
