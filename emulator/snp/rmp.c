/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The reverse map table itself.
 *
 * It lies in the host's memory, which reads it by itself, behind 16 KiB that
 * the processor keeps for its own use.  It is looked at whenever a page is
 * entered into a TLB, and whoever takes a right away first makes every TLB let
 * go of the page: so a check costs a load or two per fill, and nothing per
 * access.
 */
#include "qemu/osdep.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "hw/boards.h"
#include "hw/i386/e820_memory_layout.h"
#include "tcg/sev/compat.h"
#include "tcg/sev/memory.h"
#include "rmp.h"

#define BOOKKEEPING     (16 * KiB)
/* q35: from this much on, 2 GiB are below 4 GiB and the rest above */
#define MEMORY_MIN      (2816 * MiB)
#define BELOW_4G        (2 * GiB)

bool snp_rmp_on;
uint64_t snp_rmp_base, snp_rmp_end;
bool snp_asid[SEV_ASIDS_MAX + 1];

static SnpRmpEntry *rmp;                /* by page frame */
static uint64_t nr_rmp;
static uint16_t *owned_2m;              /* entries assigned, by 2 MiB */

SnpRmpEntry *snp_rmp(uint64_t paddr)
{
    return rmp && paddr / SEV_PAGE < nr_rmp ? &rmp[paddr / SEV_PAGE] : NULL;
}

static uint64_t lo(uint64_t paddr)
{
    SnpRmpEntry *e = snp_rmp(paddr);

    return e ? qatomic_read(&e->lo) : 0;
}

uint64_t snp_rmp_entry(uint64_t paddr)
{
    uint64_t large = lo(paddr & LARGE_MASK);

    return (large & RMP_ASSIGNED) && (large & RMP_2M) ? large : lo(paddr);
}

bool snp_rmp_owned(uint64_t paddr)
{
    /* The table is nobody's to write to, even before the firmware has it */
    return snp_rmp_on && ((snp_rmp_entry(paddr) & RMP_ASSIGNED) ||
                          (paddr >= snp_rmp_base && paddr <= snp_rmp_end));
}

bool snp_rmp_owned_2m(uint64_t paddr)
{
    return snp_rmp_on && snp_rmp(paddr) && qatomic_read(&owned_2m[paddr / LARGE_PAGE]);
}

typedef struct Change { uint64_t paddr, lo, hi; } Change;

static void change(void *opaque)
{
    Change *c = opaque;
    SnpRmpEntry *e = snp_rmp(c->paddr);

    if (e) {
        uint16_t *n = &owned_2m[c->paddr / LARGE_PAGE];

        qatomic_set(n, *n + !!(c->lo & RMP_ASSIGNED) - !!(e->lo & RMP_ASSIGNED));
        e->hi = c->hi;
        qatomic_set(&e->lo, c->lo);
    }
}

void snp_rmp_set(uint64_t paddr, uint64_t lo, uint64_t hi)
{
    Change c = { paddr, lo, hi };

    sev_page_settle(paddr, change, &c);
}

void snp_rmp_grant(uint64_t paddr, uint64_t lo, uint64_t hi)
{
    Change c = { paddr, lo, hi };

    QEMU_LOCK_GUARD(&sev_page_lock);
    change(&c);
}

void snp_rmp_setup(Error **errp)
{
    uint64_t size;
    hwaddr xlat, len = SEV_PAGE;
    MemoryRegion *mr;

    if (current_machine->ram_size < MEMORY_MIN) {
        error_setg(errp, "SEV-SNP needs at least 2816 MiB of memory: the reverse map table lies above 4 GiB");
        return;
    }
    nr_rmp = (4 * GiB + current_machine->ram_size - BELOW_4G) / SEV_PAGE;
    size = ROUND_UP(nr_rmp * sizeof(*rmp) + BOOKKEEPING, LARGE_PAGE);
    snp_rmp_base = nr_rmp * SEV_PAGE - size;
    snp_rmp_end = nr_rmp * SEV_PAGE - 1;
    e820_add_entry(snp_rmp_base, size, E820_RESERVED);
    RCU_READ_LOCK_GUARD();
    mr = address_space_translate(&address_space_memory, snp_rmp_base + BOOKKEEPING, &xlat, &len,
                                 true, MEMTXATTRS_UNSPECIFIED);
    rmp = (SnpRmpEntry *)((uint8_t *)memory_region_get_ram_ptr(mr) + xlat);
    owned_2m = g_new0(uint16_t, nr_rmp * SEV_PAGE / LARGE_PAGE + 1);
}

void snp_rmp_enable(void)
{
    uint64_t i;

    QEMU_LOCK_GUARD(&sev_page_lock);
    if (snp_rmp_on) {
        return;
    }
    memset(owned_2m, 0, (nr_rmp * SEV_PAGE / LARGE_PAGE + 1) * sizeof(*owned_2m));
    for (i = 0; i < nr_rmp; i++) {
        owned_2m[i * SEV_PAGE / LARGE_PAGE] += rmp[i].lo & RMP_ASSIGNED;
    }
    qatomic_set(&snp_rmp_on, true);
}

void snp_rmp_clear(void)
{
    QEMU_LOCK_GUARD(&sev_page_lock);
    memset(rmp, 0, nr_rmp * sizeof(*rmp));
    memset(owned_2m, 0, (nr_rmp * SEV_PAGE / LARGE_PAGE + 1) * sizeof(*owned_2m));
}
