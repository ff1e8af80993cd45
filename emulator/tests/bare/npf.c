/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Nested page faults: what each kind tells.
 */
#include "bare.h"

#define P       (1ull << 0)
#define W       (1ull << 1)
#define U       (1ull << 2)             /* each walk is a user's */
#define RSVD    (1ull << 3)
#define FETCH   (1ull << 4)
#define FINAL   (1ull << 32)
#define WALK    (1ull << 33)

#define ABSENT          (SECRET_PAGE + 0x3000)
#define READ_ONLY       (SECRET_PAGE + 0x4000)
#define NO_EXEC         (SECRET_PAGE + 0x5000)
#define RESERVED        (SECRET_PAGE + 0x6000)
#define TABLE           (SECRET_PAGE + 0x7000)  /* of the guest's */
#define TABLE_VA        (1ull << 30)

static uint64_t *nested(uint64_t gpa)
{
    return &nested_pages[(gpa - SECRET_PAGE) >> 12];
}

static GUEST void g_kinds(void)
{
    volatile uint64_t *absent = (void *)ABSENT, *ro = (void *)READ_ONLY;
    uint64_t *pdpt = (uint64_t *)(TABLES + 0x1000);

    shared->value[1] = absent[1];
    absent[2] = 1;
    ro[3] = 1;
    ((void (*)(void))NO_EXEC)();
    pdpt[1] = TABLE | (shared->value[7] & ~0ull) | 7;
    shared->value[1] = *(volatile uint64_t *)(TABLE_VA + 0x123000);
}

/* The next exit is an NPF with @info at @gpa; let it pass */
static bool faults(uint64_t info, uint64_t gpa, uint64_t entry)
{
    bool ok = EXPECT("exit code", guest_run(), SVM_EXIT_NPF) &&
              EXPECT("EXITINFO1", field64(vmcb, EXIT_INFO_1), info) &&
              EXPECT("EXITINFO2", field64(vmcb, EXIT_INFO_2), gpa);

    *nested(gpa) = entry;
    return ok;
}

static bool kinds(enum type type)
{
    uint64_t absent, ro, no_exec, table;

    guest_new(type, g_kinds);
    told->value[7] = type == PLAIN ? 0 : processor.c_bit;
    absent = *nested(ABSENT);
    ro = *nested(READ_ONLY);
    no_exec = *nested(NO_EXEC);
    table = *nested(TABLE);
    *nested(ABSENT) = 0;
    *nested(READ_ONLY) = ro & ~W;
    *nested(NO_EXEC) = no_exec | 1ull << 63;
    *nested(TABLE) = 0;
    memset((void *)(GUEST_MEM + NO_EXEC), 0xc3, 16);    /* RET */
    /* Maps where it is itself, and the page above */
    field64((uint8_t *)GUEST_MEM, TABLE) = SECRET_PAGE | told->value[7] | 0x87;
    if (type != PLAIN) {
        guest_launch();
    }
    return faults(U | FINAL, ABSENT + 8, 0) &&
           /* ... again, since nothing has changed; then as a write */
           faults(U | FINAL, ABSENT + 8, absent & ~W) &&
           faults(P | W | U | FINAL, ABSENT + 16, absent) &&
           faults(P | W | U | FINAL, READ_ONLY + 24, ro) &&
           faults(P | U | FETCH | FINAL, NO_EXEC, no_exec) &&
           /* A walk writes: the accessed bit */
           faults(W | U | WALK, TABLE, table & ~W) &&
           faults(P | W | U | WALK, TABLE, table) && guest_ends();
}

static bool kinds_plain(void)
{
    return kinds(PLAIN);
}

static bool kinds_es(void)
{
    return kinds(SEV_ES);
}

static GUEST void g_reserved(void)
{
    WATCH("movq $1, (%0)", : : "r"(RESERVED) : "r11", "memory");
    shared->value[0] = trap_error;
    shared->value[1] = traps[VC];
}

/* A reserved bit is what a hypervisor marks emulated devices with */
static bool reserved_plain(void)
{
    guest_new(PLAIN, g_reserved);
    *nested(RESERVED) |= 1ull << 51;
    return faults(P | W | U | RSVD | FINAL, RESERVED, GUEST_MEM | 7 | RESERVED);
}

static bool reserved_es(void)
{
    guest_new(SEV_ES, g_reserved);
    *nested(RESERVED) |= 1ull << 51;
    guest_launch();
    return guest_ends() && EXPECT("#VC", told->value[1], 1) &&
           EXPECT("error code of #VC", told->value[0], SVM_EXIT_NPF) &&
           EXPECT("EXITINFO2", field64(vmcb, EXIT_INFO_2), 0);
}

static GUEST void g_bytes(void)
{
    WATCH("movq $0x12345678, 8(%0)", : : "a"(ABSENT) : "r11", "memory");
    ((void (*)(void))NO_EXEC)();
}

/* The instruction's bytes are told of data accesses, and not of SEV-ES guests */
static bool bytes(enum type type, int wanted)
{
    static const uint8_t insn[] = { 0x48, 0xc7, 0x40, 8, 0x78, 0x56, 0x34, 0x12 };
    uint64_t absent, no_exec;
    int i;

    guest_new(type, g_bytes);
    absent = *nested(ABSENT);
    no_exec = *nested(NO_EXEC);
    *nested(ABSENT) = 0;
    *nested(NO_EXEC) = no_exec | 1ull << 63;
    memset((void *)(GUEST_MEM + NO_EXEC), 0xc3, 16);
    if (type != PLAIN) {
        guest_launch();
    }
    field64(vmcb, INSN_LEN) = ~0ull;
    if (!faults(W | U | FINAL, ABSENT + 8, absent) ||
        !EXPECT("number of bytes", vmcb[INSN_LEN], wanted)) {
        return false;
    }
    for (i = 0; i < 8 && wanted; i++) {
        if (!EXPECT("byte", vmcb[INSN_LEN + 1 + i], insn[i])) {
            return false;
        }
    }
    field64(vmcb, INSN_LEN) = ~0ull;
    return faults(P | U | FETCH | FINAL, NO_EXEC, no_exec) &&
           EXPECT("number of bytes", vmcb[INSN_LEN], 0) && guest_ends();
}

static bool bytes_told(void)
{
    return bytes(PLAIN, 15) && bytes(SEV, 15);
}

static bool bytes_hidden(void)
{
    return bytes(SEV_ES, 0);
}

const struct bare_test npf_tests[] = {
    { "NPF: read, write, fetch, and walk of the guest's tables", kinds_plain },
    { "NPF: the same of an SEV-ES guest", kinds_es },
    { "NPF: a reserved bit", reserved_plain },
    { "NPF: a reserved bit is #VC in an SEV-ES guest", reserved_es },
    { "NPF tells the instruction's bytes", bytes_told },
    { "NPF of an SEV-ES guest tells no bytes", bytes_hidden },
    { NULL, NULL }
};
