/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: guests, from their launch or arrival to their end.
 */
#include "qemu/osdep.h"
#include "firmware.h"

enum { CMD_LAUNCH_UPDATE_VMSA = 0x32, CMD_SEND_FINISH = 0x43, CMD_DBG_DECRYPT = 0x60 };

static void forget(SevGuest *g)
{
    int i, users = 0;

    for (i = 0; i < MAX_GUESTS; i++) {
        users += g->key && sev_fw.guest[i].key == g->key;
    }
    if (users == 1) {
        sev_tcg_flush_key(g->key);
        sev_tcg_forget_vmsas(g->key);
    }
    g_clear_pointer(&g->launched, g_checksum_free);
    memset(g, 0, sizeof(*g));
}

int sev_shutdown(int cmd, SevGuest *g, uint8_t *b)
{
    int i;

    for (i = 0; i < MAX_GUESTS; i++) {
        forget(&sev_fw.guest[i]);
    }
    memset(sev_tcg_asid_key, 0, sizeof(sev_tcg_asid_key));
    memset(&sev_fw, 0, sizeof(sev_fw));
    return ST_OK;
}

int sev_decommission(int cmd, SevGuest *g, uint8_t *b)
{
    REFUSE(g->asid, ST_ACTIVE);
    forget(g);
    sev_fw.state = --sev_fw.guests ? P_WORKING : P_INIT;
    return ST_OK;
}

int sev_activate(int cmd, SevGuest *g, uint8_t *b)
{
    uint32_t asid = ldl_le_p(b + 4);

    REFUSE(g->asid, ST_ACTIVE);
    REFUSE(asid == 0 || asid > sev_model()->asids ||
           !(g->policy & POLICY_ES) != (asid >= sev_model()->min_sev_asid), ST_ASID);
    REFUSE(sev_tcg_asid_key[asid], ST_ASID_OWNED);
    REFUSE(sev_fw.asid_stale[asid], ST_DFFLUSH);
    g->asid = asid;
    sev_tcg_asid_key[asid] = g->key;
    return ST_OK;
}

int sev_deactivate(int cmd, SevGuest *g, uint8_t *b)
{
    if (g->asid) {
        sev_fw.asid_stale[g->asid] = true;
        sev_tcg_asid_key[g->asid] = 0;
        g->asid = 0;
    }
    return ST_OK;
}

int sev_guest_status(int cmd, SevGuest *g, uint8_t *b)
{
    stl_le_p(b + 4, g->policy);
    stl_le_p(b + 8, g->asid);
    b[12] = g->state;
    return ST_OK;
}

int sev_launch_update(int cmd, SevGuest *g, uint8_t *b)
{
    bool vmsa = cmd == CMD_LAUNCH_UPDATE_VMSA;
    uint64_t addr = sev_paddr(b + 8);
    uint32_t len = ldl_le_p(b + 16);
    g_autofree uint8_t *buf = g_try_malloc(len);

    REFUSE(vmsa && !(g->policy & POLICY_ES), ST_POLICY);
    REFUSE(vmsa ? len != PAGE : (len & 15) || !len, ST_LEN);
    REFUSE(addr & (vmsa ? PAGE - 1 : 15), ST_ADDRESS);
    REFUSE(!buf, ST_RESOURCE);
    REFUSE(!sev_host_io(addr, buf, len, false), ST_ADDRESS);
    g_checksum_update(g->launched, buf, len);
    if (vmsa) {                         /* sealed as it will be at rest */
        sev_tcg_crypt(g->key, addr, buf, len);
        sev_tcg_vmsa_seal(g->key, addr, buf);
        sev_tcg_crypt(g->key, addr, buf, len);
    }
    return sev_guest_io(g, addr, buf, len, true) ? ST_OK : ST_ADDRESS;
}

int sev_launch_measure(int cmd, SevGuest *g, uint8_t *b)
{
    uint8_t head[8] = { 4, API_MAJOR, API_MINOR, API_BUILD }, digest[32], out[48];
    gsize n = sizeof(digest);

    sev_random(NULL, 16, out + 32);
    stl_le_p(head + 4, g->policy);
    if (ldl_le_p(b + 16) >= sizeof(out)) {
        g_checksum_get_digest(g->launched, digest, &n);
        HMAC(g->tk[TIK], 16, g->measure, { head, 8 }, { digest, 32 }, { out + 32, 16 });
        memcpy(out, g->measure, 32);
        g->state = G_LSECRET;
    }
    return sev_output(b + 8, 8, out, sizeof(out));
}

/* LAUNCH_FINISH, SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH */
int sev_finish(int cmd, SevGuest *g, uint8_t *b)
{
    g->state = cmd == CMD_SEND_FINISH ? G_SENT : G_RUNNING;
    return ST_OK;
}

int sev_attestation(int cmd, SevGuest *g, uint8_t *b)
{
    struct QEMU_PACKED {
        uint8_t nonce[16], digest[32];
        uint32_t policy, usage, algo, reserved;
        uint8_t rs[2][EC_BYTES];
    } r = { .policy = cpu_to_le32(g->policy), .usage = cpu_to_le32(USAGE_PEK),
            .algo = cpu_to_le32(ALGO_ECDSA) };
    gsize n = sizeof(r.digest);

    REFUSE(!g->launched, ST_GUEST_STATE);
    memcpy(r.nonce, b + 16, 16);
    g_checksum_get_digest(g->launched, r.digest, &n);
    sev_sign(sev_id->pek_key, &r, 52, r.rs);
    return sev_output(b + 8, 24, &r, sizeof(r));
}

int sev_debug(int cmd, SevGuest *g, uint8_t *b)
{
    uint64_t src = sev_paddr(b + 8), dst = sev_paddr(b + 16);
    uint32_t len = ldl_le_p(b + 24);
    bool decrypt = cmd == CMD_DBG_DECRYPT;
    g_autofree uint8_t *buf = g_try_malloc(len);

    REFUSE(g->policy & POLICY_NODBG, ST_POLICY);
    REFUSE((src | dst) & 15, ST_ADDRESS);
    REFUSE(!len || (len & 15), ST_LEN);
    REFUSE(!buf, ST_RESOURCE);
    return (decrypt ? sev_guest_io(g, src, buf, len, false) && sev_host_io(dst, buf, len, true) :
            sev_host_io(src, buf, len, false) && sev_guest_io(g, dst, buf, len, true)) ?
           ST_OK : ST_ADDRESS;
}
