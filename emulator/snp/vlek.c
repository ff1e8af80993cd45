/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: versioned loaded endorsement keys, which one issues for many
 * chips and wraps for each, so that a report does not tell the chip.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include <nettle/gcm.h>
#include "firmware.h"

enum { TAG = 16 };

/* A key on its way to a chip; what is wrapped is ours: the private key and zeros */
typedef struct QEMU_PACKED Hashstick {
    uint8_t iv[GCM_IV_SIZE], reserved1[4];
    uint8_t wrapped[384];
    uint64_t tcb;
    uint8_t reserved2[8], tag[TAG];
} Hashstick;
QEMU_BUILD_BUG_ON(sizeof(Hashstick) != 432);

/* Wrap, or unwrap with @open */
static void crypt_hashstick(Hashstick *h, uint8_t tag[TAG], bool open)
{
    struct gcm_aes256_ctx c;
    uint8_t key[32];

    snp_derive("vlek wrapping", (SevBytes[]) { { NULL } }, key, sizeof(key));
    gcm_aes256_set_key(&c, key);
    gcm_aes256_set_iv(&c, sizeof(h->iv), h->iv);
    gcm_aes256_update(&c, offsetof(Hashstick, tag) - offsetof(Hashstick, tcb), (uint8_t *)&h->tcb);
    (open ? gcm_aes256_decrypt : gcm_aes256_encrypt)(&c, sizeof(h->wrapped), h->wrapped, h->wrapped);
    gcm_aes256_digest(&c, TAG, tag);
}

int snp_vlek_load(int cmd, SnpGuest *g, uint8_t *b)
{
    uint8_t tag[TAG];
    Hashstick h;

    REFUSE(ldl_le_p(b) != 16, ST_LEN);
    REFUSE(!buffer_is_zero(b + 4, 4), ST_PARAM);
    REFUSE(snp_input(sev_paddr(b + 8), &h, sizeof(h)), ST_ADDRESS);
    crypt_hashstick(&h, tag, true);
    REFUSE(memcmp(tag, h.tag, TAG), ST_MEASUREMENT);
    REFUSE(!snp_tcb_within(le64_to_cpu(h.tcb), snp_current_tcb()), ST_PARAM);
    memcpy(snp_fw.vlek, h.wrapped, EC_BYTES);
    snp_fw.vlek_loaded = true;
    return ST_OK;
}

/* A new key: its public half, and the private one wrapped for this chip */
void snp_new_vlek(uint64_t tcb, uint8_t q[2][EC_BYTES], uint8_t hashstick[432])
{
    Hashstick h = { .tcb = cpu_to_le64(tcb) };

    sev_random(NULL, sizeof(h.iv), h.iv);
    sev_new_key(h.wrapped, q, sev_random, NULL);
    crypt_hashstick(&h, h.tag, false);
    memcpy(hashstick, &h, sizeof(h));
}
