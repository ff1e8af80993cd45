/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What VMRUN refuses of an SNP guest: its VMSA is a page of the guest's.
 */
#include "snp.h"

#define SA_FEATURES     0x3b0
#define NOT_A_VMSA      (SECRET_PAGE + 0x1000)

static GUEST void g_nothing(void)
{
}

static void launch(void)
{
    guest_new(SNP, g_nothing);
    snp_begin(0);
    snp_add(NOT_A_VMSA, 0);
    snp_end();
}

/* VMRUN is refused with its VMSA at @pa, and runs with the right one */
static bool refused(uint64_t pa)
{
    bool ok;

    field64(vmcb, VMSA_PA) = pa;
    ok = guest_refused();
    field64(vmcb, VMSA_PA) = VMSA_PAGE;
    return ok && guest_ends();
}

static bool not_assigned(void)
{
    launch();
    memcpy(small(FREE_PAGES), vmsa, PAGE);
    return refused(FREE_PAGES);
}

static bool not_vmsa(void)
{
    launch();
    return refused(GUEST_MEM + NOT_A_VMSA);
}

static bool pre_guest(void)
{
    launch();
    memcpy(small(FREE_PAGES), vmsa, PAGE);
    return EXPECT("RMPUPDATE", rmpupdate(FREE_PAGES, VMSA_GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
           refused(FREE_PAGES);
}

static bool firmware_page(void)
{
    launch();
    return refused(OUTPUT);
}

static bool alignment(void)
{
    launch();
    return refused(VMSA_PAGE + 0x10);
}

/* It was this guest's VMSA; the host took it and gave it back */
static bool given_back(void)
{
    launch();
    snp_take(VMSA_PAGE, VMSA_PAGE + PAGE);
    return EXPECT("RMPUPDATE", rmpupdate(VMSA_PAGE, VMSA_GPA, ASSIGNED, SNP_ASID), 0) && guest_refused();
}

/* SEV_FEATURES must say that the guest is SNP */
static bool features(void)
{
    guest_new(SNP, g_nothing);
    field64(vmsa, SA_FEATURES) = 0;
    snp_launch();
    return guest_refused();
}

/* Another guest's ASID, which is not active */
static bool asid(void)
{
    bool ok;

    launch();
    field32(vmcb, ASID) = SNP_ASID + 1;
    ok = guest_refused();
    field32(vmcb, ASID) = SNP_ASID;
    return ok && guest_ends();
}

static GUEST void g_state(void)
{
    uint64_t i;

    for (i = 0; i < 3; i++) {
        shared->value[0] = i;
        pause_guest();
    }
}

/* What the host reads of a VMSA is not what the guest is; and it cannot write there */
static bool state(void)
{
    uint64_t rip, i;

    guest_new(SNP, g_state);
    guest_launch();
    for (i = 0; i < 3; i++) {
        if (!EXPECT("exit code", guest_run(), SVM_EXIT_HLT) || !EXPECT("round", told->value[0], i)) {
            return false;
        }
        rip = field64(small(VMSA_PAGE), SA_RIP);
        if (!EXPECT("RIP that the host reads is code", rip > 0x200000 && rip < 0x400000, 0) ||
            !EXPECT("the host's write", host_writes(small(VMSA_PAGE)), RMP | P | W)) {
            return false;
        }
    }
    return guest_ends();
}

const struct bare_test snp_vmrun_tests[] = {
    { "VMRUN refuses a VMSA in a page that is not assigned", not_assigned },
    { "VMRUN refuses a page of the guest's that is no VMSA", not_vmsa },
    { "VMRUN refuses a VMSA that is not launched yet", pre_guest },
    { "VMRUN refuses a page of the firmware's as VMSA", firmware_page },
    { "VMRUN refuses an SNP guest's VMSA that is not aligned", alignment },
    { "VMRUN refuses a VMSA that the host took and gave back", given_back },
    { "VMRUN refuses an SNP guest whose SEV_FEATURES does not say so", features },
    { "VMRUN refuses an SNP guest under an ASID that is not active", asid },
    { "an SNP guest's VMSA lasts from exit to entry, sealed from the host", state },
    { NULL, NULL }
};
