/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: certificates, and the cryptography of the SEV API.
 */
#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include <nettle/aes.h>
#include <nettle/ctr.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecdsa.h>
#include <nettle/hmac.h>
#include "firmware.h"

#define CURVE_P384      2

/* Scratch of one operation: commands come one at a time, under the big lock */
static struct ecc_scalar k;
static struct ecc_point q;
static struct dsa_signature sig;
static mpz_t x, y;

static void __attribute__((constructor)) sev_keys_init(void)
{
    ecc_scalar_init(&k, nettle_get_secp_384r1());
    ecc_point_init(&q, nettle_get_secp_384r1());
    dsa_signature_init(&sig);
    mpz_inits(x, y, NULL);
}

void sev_random(void *ctx, size_t len, uint8_t *p)
{
    qemu_guest_getrandom_nofail(p, len);
}

void sev_hmac(const void *key, size_t key_len, uint8_t mac[32], const SevBytes *v)
{
    struct hmac_sha256_ctx c;

    hmac_sha256_set_key(&c, key_len, key);
    for (; v->p; v++) {
        hmac_sha256_update(&c, v->len, v->p);
    }
    hmac_sha256_digest(&c, 32, mac);
}

void sev_kdf(const void *key, size_t key_len, const char *label, const void *nonce, uint8_t *out)
{
    uint32_t one = cpu_to_le32(1), bits = cpu_to_le32(128);
    uint8_t mac[32];

    /* The label's end is the zero byte that separates it from the nonce */
    HMAC(key, key_len, mac, { &one, 4 }, { label, strlen(label) + 1 },
         { nonce ?: "", nonce ? 16 : 0 }, { &bits, 4 });
    memcpy(out, mac, 16);
}

void sev_ctr(const uint8_t *key, const uint8_t *iv, void *p, size_t len)
{
    struct CTR_CTX(struct aes128_ctx, AES_BLOCK_SIZE) c;

    aes128_set_encrypt_key(&c.ctx, key);
    CTR_SET_COUNTER(&c, iv);
    CTR_CRYPT(&c, aes128_encrypt, len, p, p);
}

#define number_in(n, p) mpz_import(n, EC_BYTES, -1, 1, 0, 0, p)

static void number_out(uint8_t *p, const mpz_t n)
{
    memset(p, 0, EC_BYTES);
    mpz_export(p, NULL, -1, 1, 0, 0, n);
}

static void private_key(const uint8_t *key)
{
    number_in(x, key);
    ecc_scalar_set(&k, x);
}

/* Load @pub into q; false: it is no point of the curve */
static bool public_point(const uint8_t pub[2][EC_BYTES])
{
    number_in(x, pub[0]);
    number_in(y, pub[1]);
    return ecc_point_set(&q, x, y);
}

static bool public_key(const SevCert *c)
{
    return le32_to_cpu(c->curve) == CURVE_P384 && public_point(c->q);
}

static size_t digest(bool sha384, const void *p, size_t len, uint8_t hash[48])
{
    g_autoptr(GChecksum) c = g_checksum_new(sha384 ? G_CHECKSUM_SHA384 : G_CHECKSUM_SHA256);
    gsize n = 48;

    g_checksum_update(c, p, len);
    g_checksum_get_digest(c, hash, &n);
    return n;
}

void sev_new_key(uint8_t key[EC_BYTES], uint8_t pub[2][EC_BYTES], SevRandom *random, void *ctx)
{
    ecc_scalar_random(&k, ctx, random);
    if (pub) {
        ecc_point_mul_g(&q, &k);
        ecc_point_get(&q, x, y);
        number_out(pub[0], x);
        number_out(pub[1], y);
    }
    ecc_scalar_get(&k, x);
    number_out(key, x);
}

void sev_cert_new(SevCert *c, uint32_t usage, uint8_t *key, SevRandom *random)
{
    *c = (SevCert) {
        .version = cpu_to_le32(1), .usage = cpu_to_le32(usage),
        .api_major = usage == USAGE_PEK ? API_MAJOR : 0,
        .api_minor = usage == USAGE_PEK ? API_MINOR : 0,
        .algo = cpu_to_le32(usage == USAGE_PDH ? ALGO_ECDH : ALGO_ECDSA),
        .curve = cpu_to_le32(CURVE_P384),
        .sig = { { cpu_to_le32(USAGE_NONE) }, { cpu_to_le32(USAGE_NONE) } },
    };
    sev_new_key(key, c->q, random, NULL);
}

bool sev_cert_is(const SevCert *c, uint32_t usage)
{
    return le32_to_cpu(c->version) == 1 && le32_to_cpu(c->usage) == usage &&
           (le32_to_cpu(c->algo) & ~ALGO_SHA384) ==
           (usage == USAGE_PDH ? ALGO_ECDH : ALGO_ECDSA) && public_key(c);
}

static void sign(bool sha384, const uint8_t *key, const void *p, size_t len, uint8_t rs[2][EC_BYTES])
{
    uint8_t hash[48];

    private_key(key);
    ecdsa_sign(&k, NULL, sev_random, digest(sha384, p, len, hash), hash, &sig);
    number_out(rs[0], sig.r);
    number_out(rs[1], sig.s);
}

void sev_sign(const uint8_t *key, const void *p, size_t len, uint8_t rs[2][EC_BYTES])
{
    sign(false, key, p, len, rs);
}

void snp_sign(const uint8_t *key, const void *p, size_t len, uint8_t rs[2][EC_BYTES])
{
    sign(true, key, p, len, rs);
}

bool snp_verify(const uint8_t pub[2][EC_BYTES], const void *p, size_t len, const uint8_t rs[2][EC_BYTES])
{
    uint8_t hash[48];

    number_in(sig.r, rs[0]);
    number_in(sig.s, rs[1]);
    return public_point(pub) && ecdsa_verify(&q, digest(true, p, len, hash), hash, &sig);
}

void sev_cert_sign(SevCert *c, int slot, uint32_t usage, const uint8_t *key)
{
    c->sig[slot].usage = cpu_to_le32(usage);
    c->sig[slot].algo = cpu_to_le32(ALGO_ECDSA);
    sev_sign(key, c, CERT_BODY, c->sig[slot].rs);
}

bool sev_cert_signed(const SevCert *c, const SevCert *by)
{
    uint8_t hash[48];
    size_t len = digest(le32_to_cpu(by->algo) & ALGO_SHA384, c, CERT_BODY, hash);
    int i;

    for (i = 0; i < 2; i++) {
        number_in(sig.r, c->sig[i].rs[0]);
        number_in(sig.s, c->sig[i].rs[1]);
        if (c->sig[i].usage == by->usage && c->sig[i].algo == by->algo &&
            public_key(by) && ecdsa_verify(&q, len, hash, &sig)) {
            return true;
        }
    }
    return false;
}

bool sev_agree(const uint8_t *key, const SevCert *peer, uint8_t z[48])
{
    private_key(key);
    if (!public_key(peer)) {
        return false;
    }
    ecc_point_mul(&q, &k, &q);
    ecc_point_get(&q, x, y);
    nettle_mpz_get_str_256(48, z, x);
    return true;
}
