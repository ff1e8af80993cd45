/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the guest's half of a test is written with.
 */
#ifndef GUEST_H
#define GUEST_H

#include "vmm.h"

/* No libc, no vector registers: they are what is tested */
#define GUEST __attribute__((target("general-regs-only"), unused))

struct frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx,
             rcx, rax, vector, error, rip, cs, rflags, rsp, ss;
};

/* The guest's memory is private: the host's copies of these never change */
extern volatile uint64_t traps[256];    /* how often */
extern volatile uint64_t trap_error, trap_rip;
extern void (*volatile trap_handler)(struct frame *);
/* From here on they are counted, and the handler is called */
void load_traps(void);
/* Where the watched instruction is, and where to go on after it */
extern volatile uint64_t watch_rip, watch_next;

#define CHECK(cond) do {                                                  \
        if (!(cond) && !shared->failed) {                                 \
            shared->failed = __LINE__;                                    \
        }                                                                 \
    } while (0)

/* Run @insn once; if it traps, go on after it */
#define WATCH(insn, ...)                                                  \
    asm volatile("lea 771f(%%rip), %%r11; mov %%r11, watch_rip(%%rip);"   \
                 "lea 772f(%%rip), %%r11; mov %%r11, watch_next(%%rip);"  \
                 "771: " insn "; 772:" __VA_ARGS__)

static inline GUEST uint64_t rdmsr(uint32_t msr)
{
    uint32_t a, d;

    asm volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(msr));
    return (uint64_t)d << 32 | a;
}

static inline GUEST void wrmsr(uint32_t msr, uint64_t v)
{
    asm volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v),
                 "d"((uint32_t)(v >> 32)) : "memory");
}

/* To the host and back: a KVM_EXIT_HLT there */
static inline GUEST void pause_guest(void)
{
    asm volatile("hlt" : : : "memory");
}

#define MSR_GHCB        0xc0010130
#define MSR_SEV_STATUS  0xc0010131

#endif
