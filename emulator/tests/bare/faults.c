/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Exceptions: which comes first, what becomes of two of them, and what their
 * error codes tell.
 */
#include "bare.h"

#define DB              1
#define UD              6
#define DF              8
#define NP              11
#define GP              13
#define VALID           (1u << 31)
#define ERROR_CODE      (1u << 11)
#define EXTERNAL        (0u << 8)
#define NMI             (2u << 8)
#define EXCEPTION       (3u << 8)
#define CLOBBERS        "r11", "memory", "cc"

#define SA_CR4          0x148
#define SA_DR7          0x160
#define SA_DR6          0x168
#define CR4_DE          (1u << 3)
#define DR6_BD          (1u << 13)
#define DR7_GD          (1u << 13)

#define NOT_CANONICAL   0xaaaaaaaaaaaaaaaa

struct idtr {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

static GUEST struct idtr idt(void)
{
    struct idtr idtr;

    asm volatile("sidt %0" : "=m"(idtr));
    return idtr;
}

static GUEST void lidt(struct idtr idtr)
{
    asm volatile("lidt %0" : : "m"(idtr));
}

/* No exception is delivered while @insn runs */
#define WITHOUT_IDT(insn, ...) do {                                       \
        struct idtr before_ = idt();                                      \
                                                                          \
        lidt((struct idtr) { 0, before_.base });                          \
        WATCH(insn, __VA_ARGS__);                                         \
        lidt(before_);                                                    \
    } while (0)

/* The watched instruction leaves the guest with @code, and is left behind */
static bool leaves(uint64_t code, uint64_t info)
{
    bool ok = EXPECT("exit code", guest_run(), code) &&
              EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), info) &&
              EXPECT("RIP", field64(vmcb, SAVE + SA_RIP), of_guest(watch_rip));

    field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    return ok;
}

static GUEST void g_double(void)
{
    WITHOUT_IDT("mov (%0), %%rax", : : "a"(NOT_CANONICAL) : CLOBBERS);
    WITHOUT_IDT("mov (%0), %%rax", : : "a"(NOT_CANONICAL) : CLOBBERS);
    CHECK(!traps[GP] && !traps[DF]);
}

/* #GP, and #GP of its delivery; the intercept of #GP comes before that of #DF */
static bool double_fault(void)
{
    guest_new(PLAIN, g_double);
    field32(vmcb, INTERCEPT_EXCP) = 1u << DF;
    if (!leaves(SVM_EXIT_EXCP_BASE + DF, 0) ||
        !EXPECT("EXITINTINFO", field64(vmcb, EXIT_INT_INFO), EXCEPTION | ERROR_CODE | VALID | GP)) {
        return false;
    }
    field32(vmcb, INTERCEPT_EXCP) = 1u << DF | 1u << GP;
    return leaves(SVM_EXIT_EXCP_BASE + GP, 0) && guest_ends();
}

static GUEST void g_injected(void)
{
    WITHOUT_IDT("hlt", : : : CLOBBERS);
    CHECK(!traps[GP] && !traps[DF]);
}

/* An injected exception is the first of two; an interrupt or #UD is not */
static bool injected_double_fault(void)
{
    static const struct { uint32_t event; uint64_t code; } events[] = {
        { EXCEPTION | ERROR_CODE | GP, SVM_EXIT_EXCP_BASE + DF },
        { EXCEPTION | ERROR_CODE | DF, SVM_EXIT_SHUTDOWN },
        { EXCEPTION | UD, SVM_EXIT_EXCP_BASE + GP },
        { EXTERNAL | 0x51, SVM_EXIT_EXCP_BASE + GP },
    };
    unsigned i;

    for (i = 0; i < 4; i++) {
        guest_new(PLAIN, g_injected);
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        /* What is injected is not intercepted; of what comes of it, #DF alone, or #GP */
        field32(vmcb, INTERCEPT_EXCP) = i < 2 ? 1u << DF : 1u << DF | 1u << GP;
        field64(vmcb, EVENT_INJ) = events[i].event | VALID;
        if (!EXPECT("exit code", guest_run(), events[i].code) || !guest_ends()) {
            print("# event %#lx\n", (uint64_t)events[i].event);
            return false;
        }
    }
    return true;
}

static GUEST void g_debug_registers(void)
{
    uint64_t v;

    pause_guest();
    WATCH("mov %%dr0, %0", : "=r"(v) : : CLOBBERS);
    WATCH("mov %%dr0, %0", : "=r"(v) : : CLOBBERS);
    WATCH("mov %0, %%dr3", : : "r"(0ull) : CLOBBERS);
    WATCH("mov %0, %%dr3", : : "r"(0ull) : CLOBBERS);
    WATCH(".byte 0x0f, 0x21, 0xe0", : : : "rax", CLOBBERS);     /* MOV RAX, DR4 */
    WATCH(".byte 0x0f, 0x21, 0xe0", : : : "rax", CLOBBERS);
}

/* #DB of DR7.GD, in which GD is clear already; then the intercept */
static bool general_detect(uint64_t code)
{
    field64(vmcb, SAVE + SA_DR7) |= DR7_GD;
    field64(vmcb, SAVE + SA_DR6) &= ~(uint64_t)DR6_BD;
    return leaves(SVM_EXIT_EXCP_BASE + DB, 0) &&
           EXPECT("DR6.BD", field64(vmcb, SAVE + SA_DR6) & DR6_BD, DR6_BD) &&
           EXPECT("DR7.GD", field64(vmcb, SAVE + SA_DR7) & DR7_GD, 0) &&
           EXPECT("exit code", guest_run(), code) &&
           EXPECT("RIP", field64(vmcb, SAVE + SA_RIP), of_guest(watch_rip));
}

static bool debug_registers(void)
{
    guest_new(PLAIN, g_debug_registers);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    field32(vmcb, INTERCEPT_DR) = ~0u;
    field32(vmcb, INTERCEPT_EXCP) = 1u << DB | 1u << UD;
    if (!general_detect(SVM_EXIT_READ_DR0)) {
        return false;
    }
    field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    if (!general_detect(SVM_EXIT_WRITE_DR0 + 3)) {
        return false;
    }
    field64(vmcb, SAVE + SA_RIP) = of_guest(watch_next);
    field64(vmcb, SAVE + SA_CR4) |= CR4_DE;
    if (!leaves(SVM_EXIT_EXCP_BASE + UD, 0)) {
        return false;
    }
    field64(vmcb, SAVE + SA_CR4) &= ~(uint64_t)CR4_DE;
    return leaves(SVM_EXIT_READ_DR0 + 4, 0) && guest_ends();
}

static GUEST void count_only(struct frame *f)
{
}

#define PRESENT 0x80

/* Nothing is behind the gate of each vector that is injected */
static GUEST void g_error_codes(void)
{
    volatile uint8_t *gates = (uint8_t *)idt().base;
    uint64_t i;

    trap_handler = count_only;
    for (i = 0; i < 4; i++) {
        pause_guest();
        gates[16 * shared->value[0] + 5] ^= PRESENT;
        pause_guest();
        gates[16 * shared->value[0] + 5] ^= PRESENT;
        CHECK(traps[NP] == i + 1);
        CHECK(trap_error == shared->value[1]);
    }
}

/* EXT: the event came from outside */
static bool error_codes(void)
{
    static const struct { uint32_t event; uint8_t ext; } events[] = {
        { EXTERNAL | 0x51, 1 }, { NMI | 2, 1 }, { EXCEPTION | UD, 0 },
        { EXTERNAL | UD, 1 },
    };
    unsigned i;

    guest_new(PLAIN, g_error_codes);
    for (i = 0; i < 4; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        told->value[0] = events[i].event & 0xff;
        told->value[1] = (events[i].event & 0xff) * 8 + 2 + events[i].ext;
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        field64(vmcb, EVENT_INJ) = events[i].event | VALID;
    }
    return guest_ends();
}

static GUEST void g_opcodes(void)
{
    WATCH(".byte 0xd6; nop", : : : "rax", CLOBBERS);    /* SALC */
    CHECK(traps[UD] == 1);
    WATCH(".byte 0xd4, 10; nop", : : : "rax", CLOBBERS);    /* AAM */
    CHECK(traps[UD] == 2);
    WATCH(".byte 0xd5, 10; nop", : : : "rax", CLOBBERS);    /* AAD */
    CHECK(traps[UD] == 3);
}

static bool opcodes(void)
{
    guest_new(PLAIN, g_opcodes);
    return guest_ends();
}

#define SA_CS           0x010

static GUEST void g_opcodes_32(void)
{
    trap_handler = count_only;
    WATCH("hlt; stc; .byte 0xd6; hlt", : : : "rax", CLOBBERS);
    CHECK(!traps[UD]);
}

/* In 32-bit code, SALC is what it was */
static bool opcodes_32(void)
{
    int i;

    guest_new(PLAIN, g_opcodes_32);
    for (i = 0; i < 2; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        field32(vmcb, SAVE + SA_CS) = 8 | (i ? 0xa9bu : 0xc9bu) << 16;
        field64(vmcb, SAVE + SA_RAX) &= i ? ~0ull : ~0xffull;
    }
    return EXPECT("AL", field64(vmcb, SAVE + SA_RAX) & 0xff, 0xff) && guest_ends();
}

static GUEST void g_triple_fault(void)
{
    static const struct { uint16_t limit; void *base; } __attribute__((packed)) none;

    shared->value[0] = 1;
    asm volatile("lidt %0; ud2" : : "m"(none));
}

/* KVM lets such a guest end, since it cannot give it other registers */
static bool triple_fault_of_es(void)
{
    guest_new(SEV_ES, g_triple_fault);
    guest_launch();
    return EXPECT("exit code", guest_run(), SVM_EXIT_SHUTDOWN) && EXPECT("the guest came so far", told->value[0], 1) &&
           EXPECT("done", told->done, 0) && EXPECT("failed", told->failed, 0);
}

const struct bare_test fault_tests[] = {
    { "a double fault is checked against the intercept of #DF", double_fault },
    { "an injected exception is the first of a double fault", injected_double_fault },
    { "MOV from and to DR: exceptions come before the intercept", debug_registers },
    { "EXT in the error code of what an interrupt meets", error_codes },
    { "D4, D5 and D6 are undefined in 64-bit mode", opcodes },
    { "D6 is SALC in 32-bit code", opcodes_32 },
    { "a triple fault of an SEV-ES guest is an exit, and no #VC", triple_fault_of_es },
    { NULL, NULL }
};
