/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Event injection, and what becomes of it.
 */
#include "bare.h"

#define VALID           (1u << 31)
#define ERROR_CODE      (1u << 11)
#define EXTERNAL        (0u << 8)
#define NMI             (2u << 8)
#define EXCEPTION       (3u << 8)
#define SOFTWARE        (4u << 8)

#define V_IRQ           (1u << 8)
#define V_INTR_MASKING  (1u << 24)

static GUEST void count_only(struct frame *f)
{
}

static void inject(uint32_t event, uint32_t error)
{
    field64(vmcb, EVENT_INJ) = event | VALID | (uint64_t)error << 32;
}

static void prepare(enum type type, void (*fn)(void))
{
    guest_new(type, fn);
    if (type != PLAIN) {
        guest_launch();
    }
}

static GUEST void g_injected(void)
{
    uint64_t cr2;
    int i;

    trap_handler = count_only;
    for (i = 0; i < 5; i++) {
        asm volatile("hlt; lea (%%rip), %0" : "=r"(shared->value[5]) : : "memory");
        CHECK(traps[shared->value[0]] == 1);
        CHECK(trap_error == shared->value[1]);
        CHECK(trap_rip + 7 == shared->value[5]);        /* behind HLT */
    }
    asm volatile("mov %%cr2, %0" : "=r"(cr2));
    shared->value[2] = cr2;
}

/* The vector and error code that the guest has to find on its stack */
static bool injected(enum type type)
{
    static const struct { uint32_t event, error; } events[] = {
        { EXCEPTION | ERROR_CODE | 13, 0xfed8 },
        { EXCEPTION | ERROR_CODE | 14, 0x7 },
        { EXCEPTION | 6, 0 },
        { NMI | 2, 0 },
        { EXTERNAL | 0x51, 0 },
    };
    int i;

    prepare(type, g_injected);
    for (i = 0; i < 5; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        told->value[0] = events[i].event & 0xff;
        told->value[1] = events[i].error;
        if (type == PLAIN) {
            field64(vmcb, SAVE + SA_CR2) = 0xabc000 + i;
        }
        inject(events[i].event, events[i].error);
    }
    return guest_ends() && EXPECT("EVENTINJ", field64(vmcb, EVENT_INJ) & VALID, 0) &&
           (type != PLAIN || EXPECT("CR2", told->value[2], 0xabc004));
}

static bool injected_plain(void)
{
    return injected(PLAIN);
}

static bool injected_es(void)
{
    return injected(SEV_ES);
}

static GUEST void g_software(void)
{
    trap_handler = count_only;
    pause_guest();
    CHECK(traps[0x80] == 1 && trap_rip == shared->value[0]);
    pause_guest();
    CHECK(traps[3] == 1 && trap_rip == shared->value[0]);
}

/* INTn, INT3 and INTO return to nRIP, not to where RIP stands */
static bool software(void)
{
    uint64_t rip;
    int i;

    prepare(PLAIN, g_software);
    for (i = 0; i < 2; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
            return false;
        }
        rip = field64(vmcb, SAVE + SA_RIP);
        told->value[0] = rip;
        field64(vmcb, NEXT_RIP) = rip;
        field64(vmcb, SAVE + SA_RIP) = rip - 1;         /* HLT once more? */
        inject(i ? EXCEPTION | 3 : SOFTWARE | 0x80, 0);
    }
    return guest_ends();
}

static GUEST void g_nothing(void)
{
    pause_guest();
}

static bool refused_events(void)
{
    static const uint32_t events[] = {
        1u << 8 | 6, 5u << 8 | 6, EXCEPTION | 2, EXCEPTION | 0x51,
    };
    int i;

    prepare(PLAIN, g_nothing);
    for (i = 0; i < 4; i++) {
        inject(events[i], 0);
        if (!guest_refused()) {
            print("# event %#lx\n", (uint64_t)events[i]);
            return false;
        }
    }
    field64(vmcb, EVENT_INJ) = 0;
    return guest_ends();
}

#define STACK (SECRET_PAGE + 0x8000)

static GUEST void pause_on_stack(void)
{
    asm volatile("mov %%rsp, %%r10; mov %0, %%rsp; hlt; mov %%r10, %%rsp"
                 : : "r"(STACK + 0x1000) : "r10", "memory");
}

static GUEST void g_interrupted(void)
{
    trap_handler = count_only;
    pause_on_stack();
    CHECK(traps[14] == 1 && trap_error == 0x15);
}

/* No stack to push on yet: EXITINTINFO says what was on its way */
static bool interrupted(enum type type)
{
    uint64_t *page = &nested_pages[(STACK - SECRET_PAGE) >> 12], entry;
    uint32_t event = EXCEPTION | ERROR_CODE | 14;

    prepare(type, g_interrupted);
    entry = *page;
    *page = 0;
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    inject(event, 0x15);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_NPF) ||
        !EXPECT("EXITINTINFO", field64(vmcb, EXIT_INT_INFO),
                event | VALID | 0x15ull << 32) ||
        !EXPECT("EVENTINJ", field64(vmcb, EVENT_INJ) & VALID, 0)) {
        return false;
    }
    *page = entry;
    inject(event, 0x15);
    return guest_ends() &&
           EXPECT("EXITINTINFO", field64(vmcb, EXIT_INT_INFO), 0);
}

static GUEST void g_interrupted_software(void)
{
    trap_handler = count_only;
    pause_on_stack();
    CHECK(traps[shared->value[0]] == 1 && trap_rip == shared->value[1]);
}

/* RIP goes on to nRIP when the event is delivered, not before */
static bool interrupted_event(uint32_t event)
{
    uint64_t *page = &nested_pages[(STACK - SECRET_PAGE) >> 12], entry, rip;

    prepare(PLAIN, g_interrupted_software);
    entry = *page;
    *page = 0;
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    rip = field64(vmcb, SAVE + SA_RIP);
    told->value[0] = event & 0xff;
    told->value[1] = rip;
    field64(vmcb, NEXT_RIP) = rip;
    field64(vmcb, SAVE + SA_RIP) = rip - 1;
    inject(event, 0);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_NPF) ||
        !EXPECT("EXITINTINFO", field64(vmcb, EXIT_INT_INFO), event | VALID) ||
        !EXPECT("RIP", field64(vmcb, SAVE + SA_RIP), rip - 1)) {
        return false;
    }
    *page = entry;
    field64(vmcb, NEXT_RIP) = rip;
    inject(event, 0);
    return guest_ends();
}

static bool interrupted_software(void)
{
    return interrupted_event(SOFTWARE | 0x80) && interrupted_event(EXCEPTION | 3);
}

static bool interrupted_plain(void)
{
    return interrupted(PLAIN);
}

static bool interrupted_es(void)
{
    return interrupted(SEV_ES);
}

static GUEST void g_virtual(void)
{
    trap_handler = count_only;
    pause_guest();
    asm volatile("mov %0, %%cr8; sti; nop; nop; nop; cli" : : "r"(10ull) : "memory");
    CHECK(!traps[0x51]);
    asm volatile("mov %0, %%cr8; sti; nop; nop; nop; cli" : : "r"(9ull) : "memory");
    CHECK(!traps[0x51]);
    asm volatile("mov %0, %%cr8; sti; nop; nop; nop; cli" : : "r"(8ull) : "memory");
    CHECK(traps[0x51] == 1);
    asm volatile("sti; nop; nop; nop; cli" : : : "memory");
    CHECK(traps[0x51] == 1);
}

/* A virtual interrupt waits for CR8 and for the interrupt flag, and comes once */
static bool virtual(void)
{
    prepare(PLAIN, g_virtual);
    if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT)) {
        return false;
    }
    field64(vmcb, INT_CTL) = V_INTR_MASKING | V_IRQ | 9u << 16 | 9 | 0x51ull << 32;
    return guest_ends() && EXPECT("V_IRQ", field32(vmcb, INT_CTL) & V_IRQ, 0);
}

const struct bare_test event_tests[] = {
    { "injected events, with and without an error code", injected_plain },
    { "the same of an SEV-ES guest", injected_es },
    { "an injected software event returns to nRIP", software },
    { "VMRUN refuses events that do not exist", refused_events },
    { "an exit in mid-injection tells the event", interrupted_plain },
    { "the same of an SEV-ES guest in mid-injection", interrupted_es },
    { "an exit in mid-injection leaves RIP where it was", interrupted_software },
    { "a virtual interrupt waits for CR8", virtual },
    { NULL, NULL }
};
