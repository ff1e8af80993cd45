/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: states of pages, and memory as it reads and writes it.
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "firmware.h"

#define FIRMWARE        (RMP_ASSIGNED | RMP_IMMUTABLE)
#define RECLAIM         RMP_ASSIGNED

static void mark(uint64_t base, uint64_t pages, uint64_t state)
{
    uint64_t i;

    /* What is not memory has no entry, and needs none */
    for (i = 0; i < pages && snp_rmp(base + i * PAGE); i++) {
        snp_rmp_set(base + i * PAGE, state, 0);
    }
}

void snp_mark_firmware(uint64_t base, uint64_t pages)
{
    mark(base, pages, FIRMWARE);
}

void snp_mark_reclaim(uint64_t base, uint64_t pages)
{
    mark(base, pages, RECLAIM);
}

void snp_mark_fixed(uint64_t base, uint64_t pages)
{
    mark(base, pages, RMP_IMMUTABLE);
}

bool snp_firmware_page(uint64_t addr)
{
    return (snp_rmp_entry(addr) & RMP_STATE) == FIRMWARE;
}

int snp_output_page(uint64_t addr, uint64_t len)
{
    uint64_t a;

    for (a = addr & ~(PAGE - 1ull); snp_fw.on && a < addr + len; a += PAGE) {
        if (!snp_firmware_page(a)) {
            qemu_log_mask(LOG_GUEST_ERROR, "SNP: output to %#" PRIx64 ", entry %#" PRIx64 "\n", a,
                          snp_rmp_entry(a));
            return ST_PAGE_STATE;
        }
    }
    return ST_OK;
}

int snp_output(uint64_t addr, void *buf, uint64_t len)
{
    int st = snp_output_page(addr, len);

    return st ?: sev_host_io(addr, buf, len, true) ? ST_OK : ST_ADDRESS;
}

int snp_input(uint64_t addr, void *buf, uint64_t len)
{
    return sev_host_io(addr, buf, len, false) ? ST_OK : ST_ADDRESS;
}

static bool is_context(uint64_t addr)
{
    return g_hash_table_contains(snp_fw.guests, &addr);
}

/* Firmware and pre-guest pages go to Reclaim, from where RMPUPDATE takes them */
int snp_page_reclaim(int cmd, SnpGuest *g, uint8_t *b)
{
    bool large = b[0] & 1;
    uint64_t addr = sev_paddr(b) & ~1ull, e = snp_rmp_entry(addr), a;

    REFUSE((addr & ((large ? LARGE_PAGE : PAGE) - 1)) || !snp_rmp(addr), ST_ADDRESS);
    REFUSE(!(e & RMP_ASSIGNED) || is_context(addr), ST_PAGE_STATE);
    /* A guest's validated page is not the hypervisor's to take back like this */
    REFUSE((e & RMP_ASID_MASK) && !(e & RMP_IMMUTABLE), ST_PAGE_STATE);
    REFUSE(large != !!(e & RMP_2M), ST_PAGE_SIZE);
    for (a = addr; a < addr + (large ? LARGE_PAGE : PAGE); a += PAGE) {
        snp_rmp_set(a, RECLAIM | (a == addr && large ? RMP_2M : 0), 0);
    }
    return ST_OK;
}
