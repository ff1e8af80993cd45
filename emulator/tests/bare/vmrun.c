/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What VMRUN refuses of an SEV or SEV-ES guest: #VMEXIT(INVALID), nothing run.
 */
#include "bare.h"

static GUEST void g_nothing(void)
{
}

static void launched(enum type type)
{
    guest_new(type, g_nothing);
    guest_launch();
}

/* VMRUN is refused with @value at @offset */
static bool refused(int offset, uint64_t value)
{
    uint64_t right = field64(vmcb, offset);
    bool ok;

    field64(vmcb, offset) = value;
    ok = guest_refused();
    field64(vmcb, offset) = right;
    return ok;
}

static uint64_t with_asid(uint32_t asid)
{
    return field64(vmcb, ASID) >> 32 << 32 | asid;
}

static bool nested_paging(void)
{
    launched(SEV);
    if (!refused(NESTED_CTL, NESTED_SEV) || !guest_ends()) {
        return false;
    }
    launched(SEV_ES);
    return refused(NESTED_CTL, NESTED_SEV | NESTED_ES) && guest_ends();
}

static bool sev_es_without_sev(void)
{
    launched(SEV_ES);
    return refused(NESTED_CTL, NESTED_NP | NESTED_ES) && guest_ends();
}

static bool asid_range(void)
{
    launched(SEV);
    if (!refused(ASID, with_asid(0)) || !refused(ASID, with_asid(1)) ||
        !refused(ASID, with_asid(processor.asids + 1)) || !refused(ASID, with_asid(~0u)) ||
        !guest_ends()) {
        return false;
    }
    launched(SEV_ES);
    return refused(ASID, with_asid(0)) && refused(ASID, with_asid(processor.min_sev_asid)) &&
           refused(ASID, with_asid(processor.asids + 1)) && guest_ends();
}

static bool asid_active(void)
{
    guest_forget();
    guest_new(SEV, g_nothing);
    if (!guest_refused()) {
        return false;
    }
    guest_launch();
    return refused(ASID, with_asid(processor.min_sev_asid + 1)) && guest_ends();
}

static bool vmsa_address(void)
{
    launched(SEV_ES);
    return refused(VMSA_PA, (uintptr_t)vmsa + 0x10) &&
           refused(VMSA_PA, (uintptr_t)vmsa | 1ull << 52) && guest_ends();
}

static bool vmsa_not_encrypted(void)
{
    static uint8_t other[4096] __attribute__((aligned(4096)));

    launched(SEV_ES);
    memcpy(other, vmsa, sizeof(other));
    return refused(VMSA_PA, (uintptr_t)other) && guest_ends();
}

static bool vmsa_altered(void)
{
    int i;

    launched(SEV_ES);
    for (i = 0; i < 4096; i += 455) {
        vmsa[i] ^= 0x10;
        if (!guest_refused()) {
            return false;
        }
        vmsa[i] ^= 0x10;
    }
    return guest_ends();
}

const struct bare_test vmrun_tests[] = {
    { "VMRUN refuses an encrypted guest without nested paging", nested_paging },
    { "VMRUN refuses SEV-ES without SEV", sev_es_without_sev },
    { "VMRUN refuses an ASID out of the guest's range", asid_range },
    { "VMRUN refuses an ASID that is not active", asid_active },
    { "VMRUN refuses a VMSA that is not aligned, or beyond memory", vmsa_address },
    { "VMRUN refuses a VMSA that the firmware has not seen", vmsa_not_encrypted },
    { "VMRUN refuses a VMSA that was altered", vmsa_altered },
    { NULL, NULL }
};
