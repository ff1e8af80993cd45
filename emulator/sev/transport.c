/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: what comes from a guest's owner or another platform, and what
 * goes there.
 */
#include "qemu/osdep.h"
#include "firmware.h"

enum { CMD_LAUNCH_START = 0x30, CMD_LAUNCH_SECRET = 0x34, CMD_SEND_UPDATE_DATA = 0x41 };
/* The API version that a policy asks of a platform */
#define POLICY_API(policy) (((policy) >> 8 & 0xff00) | (policy) >> 24)

/* A guest's transport keys under way, wrapped */
typedef struct Session { uint8_t nonce[16], keys[2][16], iv[16], mac[2][32]; } Session;

/* Wrap the transport keys of @g for @peer, or unwrap those that came from it */
static int session(SevGuest *g, const SevCert *peer, Session *s, bool wrap)
{
    uint8_t z[48], master[16], kek[16], kik[16], mac[2][32], policy[4];

    REFUSE(!sev_cert_is(peer, USAGE_PDH) || !sev_agree(sev_id->pdh_key, peer, z), ST_CERTIFICATE);
    sev_kdf(z, sizeof(z), "sev-master-secret", s->nonce, master);
    sev_kdf(master, 16, "sev-kek", NULL, kek);
    sev_kdf(master, 16, "sev-kik", NULL, kik);
    memcpy(wrap ? s->keys : g->tk, wrap ? g->tk : s->keys, 32);
    sev_ctr(kek, s->iv, wrap ? s->keys : g->tk, 32);
    stl_le_p(policy, g->policy);
    HMAC(kik, 16, mac[0], { s->keys, 32 });
    HMAC(g->tk[TIK], 16, mac[1], { policy, 4 });
    if (wrap) {
        memcpy(s->mac, mac, 64);
    }
    return memcmp(s->mac, mac, 64) ? ST_MEASUREMENT : ST_OK;
}

/* LAUNCH_START and RECEIVE_START */
int sev_start(int cmd, SevGuest *g, uint8_t *b)
{
    uint32_t handle = ldl_le_p(b), policy = ldl_le_p(b + 4);
    SevGuest new = { .state = cmd == CMD_LAUNCH_START ? G_LUPDATE : G_RUPDATE, .policy = policy };
    SevCert peer;
    Session s;
    int st;

    sev_random(NULL, sizeof(new.key), (uint8_t *)&new.key);
    new.key = new.key >> 8 | 1;
    if (handle) {
        REFUSE(handle > MAX_GUESTS || !sev_fw.guest[handle - 1].state, ST_GUEST);
        g = &sev_fw.guest[handle - 1];
        REFUSE((g->policy | policy) & POLICY_NOKS, ST_POLICY);
        new.key = g->key;
    }
    REFUSE(((policy & POLICY_ES) && !sev_fw.es) ||
           POLICY_API(policy) > (API_MAJOR << 8 | API_MINOR), ST_POLICY);
    /* Launched without a session, a guest has transport keys of zeros */
    if (new.state == G_RUPDATE || sev_paddr(b + 8) || sev_paddr(b + 24)) {
        REFUSE((st = sev_input(b + 8, &peer, sizeof(peer)) ?: sev_input(b + 24, &s, sizeof(s)) ?:
                     session(&new, &peer, &s, false)), st);
    }
    for (g = sev_fw.guest; g < sev_fw.guest + MAX_GUESTS && g->state; g++) {
    }
    REFUSE(g == sev_fw.guest + MAX_GUESTS, ST_RESOURCE);
    new.launched = new.state == G_LUPDATE ? g_checksum_new(G_CHECKSUM_SHA256) : NULL;
    *g = new;
    sev_fw.guests++;
    sev_fw.state = P_WORKING;
    stl_le_p(b, g - sev_fw.guest + 1);
    return ST_OK;
}

int sev_send_start(int cmd, SevGuest *g, uint8_t *b)
{
    SevCert pdh, chain[3], *pek = &chain[0], *oca = &chain[1], *cek = &chain[2];
    Session s;
    int st;

    stl_le_p(b + 4, g->policy);
    REFUSE(g->policy & POLICY_NOSEND, ST_POLICY);
    if (ldl_le_p(b + 64) < sizeof(s)) {
        return sev_output(b + 56, 8, &s, sizeof(s));       /* how long it will be */
    }
    REFUSE((st = sev_input(b + 8, &pdh, sizeof(pdh)) ?: sev_input(b + 24, chain, sizeof(chain))), st);
    /* That AMD signed the CEK: no chip that is emulated has such a signature */
    REFUSE((g->policy & POLICY_SEV) || !sev_cert_is(pek, USAGE_PEK) ||
           !sev_cert_is(oca, USAGE_OCA) || !sev_cert_is(cek, USAGE_CEK), ST_CERTIFICATE);
    REFUSE(!sev_cert_signed(&pdh, pek) || !sev_cert_signed(pek, oca) ||
           !sev_cert_signed(pek, cek) || !sev_cert_signed(oca, oca), ST_SIGNATURE);
    REFUSE(((g->policy & POLICY_DOMAIN) && memcmp(oca, &sev_id->oca, CERT_BODY)) ||
           POLICY_API(g->policy) > (pek->api_major << 8 | pek->api_minor), ST_POLICY);
    sev_random(NULL, sizeof(g->tk), (uint8_t *)g->tk);
    sev_random(NULL, sizeof(s), (uint8_t *)&s);
    st = session(g, &pdh, &s, true) ?: sev_output(b + 56, 8, &s, sizeof(s));
    g->state = st ? g->state : G_SUPDATE;
    return st;
}

/* LAUNCH_SECRET, SEND_UPDATE_DATA, RECEIVE_UPDATE_DATA */
int sev_packet(int cmd, SevGuest *g, uint8_t *b)
{
    struct QEMU_PACKED { uint8_t kind, flags[4], iv[16]; uint32_t len[2]; } head;
    bool send = cmd == CMD_SEND_UPDATE_DATA, secret = cmd == CMD_LAUNCH_SECRET;
    uint32_t len = ldl_le_p(b + 32), trans_len = ldl_le_p(b + 48);
    uint64_t addr = sev_paddr(b + 24);
    uint8_t hdr[52] = { 0 }, *mac = hdr + 20, is[32], data[16 * KiB];
    int st;

    if (send && (ldl_le_p(b + 16) < sizeof(hdr) || trans_len < len)) {
        stl_le_p(b + 16, sizeof(hdr));
        stl_le_p(b + 48, len);
        return ST_LEN;
    }
    REFUSE(!len || (len & 15) || len > sizeof(data) || (!send && trans_len != len), ST_LEN);
    REFUSE(addr & 15, ST_ADDRESS);
    if (send) {
        REFUSE(!sev_guest_io(g, addr, data, len, false), ST_ADDRESS);
        sev_random(NULL, 16, hdr + 4);
        sev_ctr(g->tk[TEK], hdr + 4, data, len);
    } else {
        REFUSE((st = sev_input(b + 8, hdr, sizeof(hdr)) ?: sev_input(b + 40, data, len)), st);
        REFUSE(ldl_le_p(hdr), ST_UNSUPPORTED);          /* compressed */
    }
    head.kind = secret ? 1 : 2;
    memcpy(head.flags, hdr, 20);
    head.len[0] = head.len[1] = cpu_to_le32(len);
    HMAC(g->tk[TIK], 16, is, { &head, sizeof(head) }, { data, len },
         { g->measure, secret ? sizeof(g->measure) : 0 });
    if (send) {
        memcpy(mac, is, 32);
        return sev_output(b + 8, 8, hdr, sizeof(hdr)) ?: sev_output(b + 40, 8, data, len);
    }
    REFUSE(memcmp(mac, is, 32), ST_MEASUREMENT);
    sev_ctr(g->tk[TEK], hdr + 4, data, len);
    return sev_guest_io(g, addr, data, len, true) ? ST_OK : ST_ADDRESS;
}
