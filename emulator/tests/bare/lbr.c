/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Last branch recording, and its virtualization.
 */
#include "bare.h"

#define DEBUGCTL        0x1d9
#define BR_FROM         0x1db
#define BR_TO           0x1dc
#define INT_FROM        0x1dd
#define INT_TO          0x1de
#define SA_BR_FROM      0x278

/* With recording on, and off before the compiler's code branches */
#define ON  "mov $0x1d9, %%ecx; mov $1, %%eax; xor %%edx, %%edx; wrmsr;"
#define OFF "mov $0x1d9, %%ecx; xor %%eax, %%eax; xor %%edx, %%edx; wrmsr;"
#define CLOBBERS "rax", "rcx", "rdx", "r11", "memory", "cc"

/* @code ends at 772 by the branch at 771, and no other is taken in between */
#define LAST(code) do {                                                   \
        uint64_t from_, to_;                                              \
        asm volatile(ON code OFF                                          \
                     "lea 771b(%%rip), %0; lea 772b(%%rip), %1"           \
                     : "=&r"(from_), "=&r"(to_) : : CLOBBERS);            \
        shared->value[0] = rdmsr(BR_FROM);                                \
        shared->value[1] = rdmsr(BR_TO);                                  \
        CHECK(rdmsr(BR_FROM) == from_ && rdmsr(BR_TO) == to_);            \
    } while (0)
#define JUMP "771: jmp 772f; nop; 772:"

static GUEST void g_taken(void)
{
    LAST(JUMP);
    LAST("771: jmp 772f; 772:");
    LAST("771: .byte 0xe9; .long 772f - . - 4; nop; 772:");
    LAST("test %%edx, %%edx; 771: jz 772f; nop; 772:");
    LAST("test %%edx, %%edx; 771: .byte 0x0f, 0x84; .long 772f - . - 4; nop; 772:");
    LAST("mov $2, %%ecx; 772: nop; 771: loop 772b;");
    LAST("xor %%ecx, %%ecx; 771: jrcxz 772f; nop; 772:");
    LAST("771: call 772f; nop; 772: pop %%rax;");
    LAST("jmp 774f; 773: nop; 771: ret; 774: call 773b; 772:");
    LAST("jmp 774f; 773: nop; 771: ret $0; 774: call 773b; 772:");
    LAST("lea 772f(%%rip), %%rax; 771: jmp *%%rax; nop; 772:");
    LAST("lea 772f(%%rip), %%rax; push %%rax; 771: jmp *(%%rsp); nop; 772: pop %%rax;");
    LAST("lea 772f(%%rip), %%rax; 771: call *%%rax; nop; 772: pop %%rax;");
    LAST("push $8; lea 772f(%%rip), %%rax; push %%rax; 771: lretq; nop; 772:");
    LAST("mov %%rsp, %%rcx; mov %%ss, %%eax; push %%rax; push %%rcx; pushf; push $8;"
         "lea 772f(%%rip), %%rax; push %%rax; 771: iretq; nop; 772:");
    wrmsr(0xc0000080, rdmsr(0xc0000080) | 1);   /* EFER.SCE */
    wrmsr(0xc0000081, 8ull << 32);              /* STAR; LSTAR below */
    LAST("mov $0xc0000082, %%ecx; lea 772f(%%rip), %%rax; wrmsr;"
         "771: syscall; nop; 772:");
}

static GUEST void g_not_taken(void)
{
    LAST(JUMP "jnz 773f; nop; 773:");
    LAST(JUMP ".byte 0x0f, 0x85; .long 773f - . - 4; nop; 773:");
    LAST(JUMP ".byte 0x2e; jnz 773f; nop; 773:");
    LAST(JUMP "mov $1, %%ecx; loop 773f; nop; 773:");
    LAST(JUMP "mov $1, %%ecx; jrcxz 773f; nop; 773:");
    /* No branches, though group 5 and two-byte opcodes too */
    LAST(JUMP "pushq (%%rsp); incq (%%rsp); pop %%rax; rdtsc; bswap %%eax;"
         "lea 0x70(%%rax), %%rax; rep; nop; pushf; popf;");
}

/* An exception is recorded, and what was the last branch moves on */
static GUEST void g_exception(void)
{
    struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idtr;
    uint64_t from, to;

    asm volatile("sidt %0" : "=m"(idtr));
    /* Vector 6 leads to 772 */
    asm volatile("lea 772f(%%rip), %%rax; mov %%ax, 96(%2); shr $16, %%rax; mov %%ax, 102(%2);"
                 ON "773: jmp 774f; nop; 774: 771: ud2; 772: mov 24(%%rsp), %%rsp;" OFF
                 "lea 773b(%%rip), %0; lea 774b(%%rip), %1"
                 : "=&r"(from), "=&r"(to) : "r"(idtr.base) : CLOBBERS);
    CHECK(rdmsr(INT_FROM) == from && rdmsr(INT_TO) == to);
    CHECK(rdmsr(BR_FROM) == to);
    asm volatile("lea 772b(%%rip), %0" : "=r"(to));
    CHECK(rdmsr(BR_TO) == to);
}

static uint64_t steps[2];               /* how often, and a sum of where */

static GUEST void count_steps(struct frame *f)
{
    CHECK(rdmsr(DEBUGCTL) == 0);
    wrmsr(DEBUGCTL, shared->value[0]);
    steps[0]++;
    steps[1] = steps[1] * 31 + f->rip;
}

static GUEST __attribute__((noinline)) void step(void)
{
    asm volatile("pushf; orq $0x100, (%%rsp); popf; nop; mov $3, %%ecx; 1: loop 1b;"
                 "pushf; andq $~0x100, (%%rsp); popf; nop" : : : CLOBBERS);
}

/* #DB comes after the same instructions, and turns recording off */
static GUEST void g_single_step(void)
{
    uint64_t without[2];

    trap_handler = count_steps;
    step();
    without[0] = steps[0];
    without[1] = steps[1];
    steps[0] = steps[1] = 0;
    shared->value[0] = 1;
    wrmsr(DEBUGCTL, 1);
    step();
    CHECK(rdmsr(DEBUGCTL) == 1);
    wrmsr(DEBUGCTL, 0);
    CHECK(without[0] > 5 && steps[0] == without[0] && steps[1] == without[1]);
}

static bool taken(void)
{
    guest_new(PLAIN, g_taken);
    return guest_ends();
}

static bool not_taken(void)
{
    guest_new(PLAIN, g_not_taken);
    return guest_ends();
}

static bool exception(void)
{
    guest_new(PLAIN, g_exception);
    return guest_ends();
}

static bool single_step(void)
{
    guest_new(PLAIN, g_single_step);
    return guest_ends();
}

/* Finds what the VMCB or VMSA has, and leaves other records there */
static GUEST void g_own(void)
{
    uint64_t from, to;
    int i;

    CHECK(rdmsr(DEBUGCTL) == 2);
    for (i = 0; i < 4; i++) {
        CHECK(rdmsr(BR_FROM + i) == 0x1000u + i);
    }
    asm volatile(ON JUMP "lea 771b(%%rip), %0; lea 772b(%%rip), %1; mov %0, %2; mov %1, %3;"
                 "hlt; mov $0x1d9, %%ecx; rdmsr; mov %%eax, %4;" OFF
                 : "=&r"(from), "=&r"(to), "=m"(shared->value[0]), "=m"(shared->value[1]),
                   "=m"(shared->value[2]) : : CLOBBERS);
    CHECK(shared->value[2] == 1);
    CHECK(rdmsr(BR_FROM) == from && rdmsr(BR_TO) == to && rdmsr(INT_TO) == 0x1003);
}

/* Read without a call, which would be the last branch */
#define host_msr(msr) ({                                                  \
        uint32_t a_, d_;                                                  \
        asm volatile("rdmsr" : "=a"(a_), "=d"(d_) : "c"(msr));            \
        (uint64_t)d_ << 32 | a_;                                          \
    })

static bool own(enum type type)
{
    uint8_t *area = type == SEV_ES ? vmsa : vmcb + SAVE;
    uint64_t from, to;
    int i;

    guest_new(type, g_own);
    field64(vmcb, VIRT_EXT) = 1;
    field64(area, SA_DBGCTL) = 2;
    for (i = 0; i < 4; i++) {
        field64(area, SA_BR_FROM + 8 * i) = 0x1000 + i;
    }
    if (type != PLAIN) {
        guest_launch();
    }
    asm volatile(ON JUMP OFF "lea 771b(%%rip), %0; lea 772b(%%rip), %1"
                 : "=&r"(from), "=&r"(to) : : CLOBBERS);
    return EXPECT("exit code", guest_run(), SVM_EXIT_HLT) &&
           EXPECT("the host's DEBUGCTL", host_msr(DEBUGCTL), 0) &&
           EXPECT("the host's last branch", host_msr(BR_FROM), from) &&
           EXPECT("the host's last branch", host_msr(BR_TO), to) &&
           /* In the clear only in a VMCB */
           EXPECT("DEBUGCTL", field64(vmcb, SAVE + SA_DBGCTL), type != SEV_ES) &&
           EXPECT("last branch", field64(vmcb, SAVE + SA_BR_FROM),
                  type == SEV_ES ? 0 : told->value[0]) &&
           EXPECT("its target", field64(vmcb, SAVE + SA_BR_FROM + 8),
                  type == SEV_ES ? 0 : told->value[1]) && guest_ends() &&
           EXPECT("the host's last branch", host_msr(BR_FROM), from);
}

static bool own_plain(void)
{
    return own(PLAIN);
}

static bool own_es(void)
{
    return own(SEV_ES);
}

static GUEST void g_common(void)
{
    uint64_t from;

    CHECK(rdmsr(DEBUGCTL) == 2 && rdmsr(BR_FROM) == shared->value[0]);
    asm volatile(ON JUMP "lea 771b(%%rip), %0; mov %0, %1; hlt"
                 : "=&r"(from), "=m"(shared->value[1]) : : CLOBBERS);
    CHECK(rdmsr(DEBUGCTL) == 0);
}

/* Without virtualization there is one set for all */
static bool common(void)
{
    uint64_t from;
    bool ok;

    guest_new(PLAIN, g_common);
    field64(vmcb, SAVE + SA_DBGCTL) = 0x3f;
    asm volatile(ON JUMP OFF "mov $2, %%eax; wrmsr; lea 771b(%%rip), %0"
                 : "=&r"(from) : : CLOBBERS);
    told->value[0] = from;
    ok = EXPECT("exit code", guest_run(), SVM_EXIT_HLT);
    from = host_msr(DEBUGCTL);
    asm volatile(OFF : : : CLOBBERS);
    return EXPECT("DEBUGCTL", from, 1) && ok &&
           EXPECT("VMCB", field64(vmcb, SAVE + SA_DBGCTL), 0x3f) && guest_ends();
}

static GUEST void g_intercepted(void)
{
    rdmsr(DEBUGCTL);
    rdmsr(INT_TO);
    wrmsr(DEBUGCTL, 1);
}

static bool intercepted(void)
{
    static uint8_t all[8192] __attribute__((aligned(4096)));
    int i;

    guest_new(PLAIN, g_intercepted);
    memset(all, 0xff, sizeof(all));
    field64(vmcb, 0x048) = (uintptr_t)all;
    field32(vmcb, INTERCEPT_3) |= 1u << 28;
    for (i = 0; i < 3; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_MSR) ||
            !EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), i == 2)) {
            return false;
        }
        field64(vmcb, SAVE + SA_RIP) = field64(vmcb, NEXT_RIP);
    }
    return guest_ends() && EXPECT("DEBUGCTL", host_msr(DEBUGCTL), 0);
}

const struct bare_test lbr_tests[] = {
    { "LBR: each kind of branch that is taken", taken },
    { "LBR: no other instruction", not_taken },
    { "LBR: an exception, and the branch before it", exception },
    { "LBR and single step: #DB as ever, and recording off", single_step },
    { "LBR virtualization: a guest has its own", own_plain },
    { "LBR virtualization: an SEV-ES guest's are in its VMSA", own_es },
    { "LBR: one set for all without virtualization", common },
    { "LBR: its MSRs can be intercepted", intercepted },
    { NULL, NULL }
};
