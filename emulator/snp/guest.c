/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: guests, from their context to their end.
 */
#include "qemu/osdep.h"
#include "firmware.h"

enum { CMD_DBG_DECRYPT = 0xb0 };

int snp_gctx_create(int cmd, SnpGuest *unused, uint8_t *b)
{
    uint64_t addr = sev_paddr(b);
    SnpGuest *g;

    REFUSE((addr & (PAGE - 1)) || !snp_rmp(addr), ST_ADDRESS);
    REFUSE(!snp_firmware_page(addr) || g_hash_table_contains(snp_fw.guests, &addr), ST_PAGE_STATE);
    g = g_new0(SnpGuest, 1);
    g->gctx = addr;
    g->state = SG_INIT;
    sev_random(NULL, sizeof(g->key), (uint8_t *)&g->key);
    g->key = g->key >> 8 | 1;           /* what a page's record has room for, and not 0 */
    sev_random(NULL, sizeof(g->vmpck), (uint8_t *)g->vmpck);
    sev_random(NULL, sizeof(g->report_id), g->report_id);
    g->launch_tcb = snp_current_tcb();
    g_hash_table_insert(snp_fw.guests, &g->gctx, g);
    return ST_OK;
}

int snp_activate(int cmd, SnpGuest *g, uint8_t *b)
{
    uint32_t asid = ldl_le_p(b + 8);

    REFUSE(g->asid, ST_ACTIVE);
    REFUSE(!asid || asid > sev_model()->asids || asid >= sev_model()->min_sev_asid, ST_ASID);
    REFUSE(sev_tcg_asid_key[asid], ST_ASID_OWNED);
    REFUSE(sev_fw.asid_stale[asid], ST_DFFLUSH);
    g->asid = asid;
    sev_tcg_asid_key[asid] = g->key;
    snp_asid[asid] = true;
    return ST_OK;
}

int snp_decommission(int cmd, SnpGuest *g, uint8_t *b)
{
    sev_tcg_flush_key(g->key);
    if (g->asid) {
        sev_tcg_asid_key[g->asid] = 0;
        snp_asid[g->asid] = false;
        sev_fw.asid_stale[g->asid] = true;
    }
    /* The context page is an ordinary page of the firmware's now */
    g_hash_table_remove(snp_fw.guests, &g->gctx);
    return ST_OK;
}

int snp_guest_status(int cmd, SnpGuest *g, uint8_t *b)
{
    uint8_t s[32] = { 0 };

    stq_le_p(s, g->policy);
    stl_le_p(s + 8, g->asid);
    s[12] = g->state;
    return snp_output(sev_paddr(b + 8), s, sizeof(s));
}

/* SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT: a page of the guest's, and one of the hypervisor's */
int snp_debug(int cmd, SnpGuest *g, uint8_t *b)
{
    uint64_t src = sev_paddr(b + 8), dst = sev_paddr(b + 16);
    bool decrypt = cmd == CMD_DBG_DECRYPT;
    uint64_t e = snp_rmp_entry(decrypt ? src : dst);
    SevGuest sev = { .key = g->key };
    uint8_t page[PAGE];

    REFUSE(!(g->policy & SNP_POLICY_DEBUG), ST_POLICY);
    REFUSE((src | dst) & (PAGE - 1), ST_ADDRESS);
    REFUSE(!(e & RMP_ASSIGNED) || !g->asid || (e & RMP_ASID_MASK) != RMP_ASID(g->asid), ST_PAGE_OWNER);
    if (decrypt) {
        REFUSE(!sev_guest_io(&sev, src, page, PAGE, false), ST_ADDRESS);
        return snp_output(dst, page, PAGE);
    }
    REFUSE(snp_input(src, page, PAGE), ST_ADDRESS);
    return sev_guest_io(&sev, dst, page, PAGE, true) ? ST_OK : ST_ADDRESS;
}
