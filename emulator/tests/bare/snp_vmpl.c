/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP: a guest at VMPL 1, and what VMPL 0 or the launch let it do.
 */
#include "snp.h"

#define VC              29
#define SA_VMPL         0x0ca
#define NONE            (SECRET_PAGE + 0x1000)
#define READABLE        (SECRET_PAGE + 0x2000)
#define WRITABLE        (SECRET_PAGE + 0x3000)
#define EXECUTABLE      (SECRET_PAGE + 0x4000)

/* Permissions */
enum { READ = 1, WRITE = 2, EXEC_USER = 4, EXEC = 8, ALL = 15 };

static void launch(void (*fn)(void))
{
    guest_new(SNP, fn);
    vmsa[SA_VMPL] = 1;
    memset((void *)(GUEST_MEM + EXECUTABLE), 0xc3, 16);         /* RET */
    memset((void *)(GUEST_MEM + READABLE), 0xc3, 16);
    snp_begin(ALL | ALL << 8);
    snp_add(NONE, 0);
    snp_add(READABLE, READ);
    snp_add(WRITABLE, READ | WRITE);
    snp_add(EXECUTABLE, READ | EXEC);
    snp_end();
}

static GUEST void g_allowed(void)
{
    shared->value[0] = *(volatile uint8_t *)READABLE;
    *(volatile uint64_t *)WRITABLE = 1;
    CHECK(*(volatile uint64_t *)WRITABLE == 1);
    ((void (*)(void))EXECUTABLE)();
    CHECK(!traps[VC]);
}

static bool allowed(void)
{
    launch(g_allowed);
    return guest_ends() && EXPECT("byte", told->value[0], 0xc3);
}

static GUEST void g_read(void)
{
    shared->value[0] = *(volatile uint64_t *)NONE;
}

static bool read(void)
{
    launch(g_read);
    return snp_faults(P | U | RMP | FINAL | ENC | VMPL, NONE);
}

static GUEST void g_write(void)
{
    *(volatile uint64_t *)READABLE = 1;
}

static bool write(void)
{
    launch(g_write);
    return snp_faults(P | W | U | RMP | FINAL | ENC | VMPL, READABLE);
}

static GUEST void g_execute(void)
{
    ((void (*)(void))READABLE)();
}

static bool execute(void)
{
    launch(g_execute);
    return snp_faults(P | U | FETCH | RMP | FINAL | ENC | VMPL, READABLE);
}

static GUEST void g_instructions(void)
{
    CHECK(pvalidate(WRITABLE, 0, 0, NULL) == FAIL_PERMISSION);
    CHECK(rmpadjust(WRITABLE, 0, 0, READ, 0) == FAIL_PERMISSION);
    CHECK(rmpadjust(WRITABLE, 0, 1, READ, 0) == FAIL_PERMISSION);
    CHECK(rmpadjust(WRITABLE, 0, 2, READ | EXEC, 0) == FAIL_PERMISSION);
    CHECK(rmpadjust(WRITABLE, 0, 2, READ, MAKE_VMSA) == FAIL_PERMISSION);
    CHECK(!rmpadjust(WRITABLE, 0, 2, READ | WRITE, 0));
    CHECK(!traps[VC]);
}

/* VMPL 1 gives to VMPL 2 what it has; no VMSA, nothing validated */
static bool instructions(void)
{
    launch(g_instructions);
    return guest_ends() && EXPECT("VMSA", rmp(GUEST_MEM + WRITABLE) & RMP_VMSA, 0) &&
           EXPECT("VALIDATED", rmp(GUEST_MEM + WRITABLE) & RMP_VALIDATED, RMP_VALIDATED);
}

static GUEST void g_zero(void)
{
    *(volatile uint64_t *)NONE = 1;
    CHECK(*(volatile uint64_t *)NONE == 1 && !traps[VC]);
}

static bool zero(void)
{
    guest_new(SNP, g_zero);
    snp_begin(0);
    snp_add(NONE, 0);
    snp_end();
    return guest_ends();
}

const struct bare_test vmpl_tests[] = {
    { "VMPL 1 does what its permissions allow", allowed },
    { "VMPL 1: a read without permission is NPF with VMPL", read },
    { "VMPL 1: a write without permission is NPF with VMPL", write },
    { "VMPL 1: a fetch without permission is NPF with VMPL", execute },
    { "VMPL 1: no PVALIDATE, and RMPADJUST of no more than it has", instructions },
    { "VMPL 0 may do everything", zero },
    { NULL, NULL }
};
