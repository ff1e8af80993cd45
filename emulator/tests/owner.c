/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the owner of a platform or of a guest computes, with libcrypto.
 */
#include <err.h>
#include <linux/psp-sev.h>
#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/hmac.h>
#include <openssl/param_build.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include "owner.h"
#include "tests.h"

#define BODY offsetof(struct cert, sig)

static void need(bool ok, const char *what)
{
    if (!ok) {
        errx(1, "libcrypto: %s", what);
    }
}

static void reversed(uint8_t *to, const uint8_t *from, int len)
{
    int i;

    for (i = 0; i < len; i++) {
        to[i] = from[len - 1 - i];
    }
}

static EVP_PKEY *public_key(const struct cert *c)
{
    OSSL_PARAM_BLD *b = OSSL_PARAM_BLD_new();
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, "EC", NULL);
    EVP_PKEY *key = NULL;
    uint8_t point[97] = { 4 };

    reversed(point + 1, c->x, 48);
    reversed(point + 49, c->y, 48);
    OSSL_PARAM_BLD_push_utf8_string(b, OSSL_PKEY_PARAM_GROUP_NAME, "P-384", 0);
    OSSL_PARAM_BLD_push_octet_string(b, OSSL_PKEY_PARAM_PUB_KEY, point, 97);
    EVP_PKEY_fromdata_init(ctx);
    EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, OSSL_PARAM_BLD_to_param(b));
    return key;
}

EVP_PKEY *cert_new(struct cert *c, uint32_t usage, uint32_t algo)
{
    EVP_PKEY *key = EVP_EC_gen("P-384");
    uint8_t point[97];
    size_t len;

    need(EVP_PKEY_get_octet_string_param(key, OSSL_PKEY_PARAM_PUB_KEY, point,
                                         sizeof(point), &len) && len == 97, "key");
    *c = (struct cert) { .version = 1, .usage = usage, .algo = algo, .curve = 2 };
    c->sig[0].usage = c->sig[1].usage = NONE;
    reversed(c->x, point + 1, 48);
    reversed(c->y, point + 49, 48);
    return key;
}

static const EVP_MD *hash(const struct cert *by)
{
    return by->algo & 0x100 ? EVP_sha384() : EVP_sha256();
}

void signature_new(const void *p, size_t len, EVP_PKEY *key, const EVP_MD *md, uint8_t r[72],
                   uint8_t s[72])
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    uint8_t der[128];
    const uint8_t *d = der;
    size_t n = sizeof(der);
    ECDSA_SIG *sig;

    need(EVP_DigestSignInit(ctx, NULL, md, NULL, key) == 1 &&
         EVP_DigestSign(ctx, der, &n, p, len) == 1, "signature");
    sig = d2i_ECDSA_SIG(NULL, &d, n);
    BN_bn2lebinpad(ECDSA_SIG_get0_r(sig), r, 72);
    BN_bn2lebinpad(ECDSA_SIG_get0_s(sig), s, 72);
}

void cert_sign(struct cert *c, int slot, const struct cert *by, EVP_PKEY *key)
{
    struct signature *sig = &c->sig[slot];

    sig->usage = by->usage;
    sig->algo = by->algo;
    signature_new(c, BODY, key, hash(by), sig->r, sig->s);
}

bool signature_of(const void *p, size_t len, const uint8_t r[72],
                  const uint8_t s[72], const struct cert *by)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    ECDSA_SIG *sig = ECDSA_SIG_new();
    EVP_PKEY *key = public_key(by);
    uint8_t *der = NULL;
    int n;

    ECDSA_SIG_set0(sig, BN_lebin2bn(r, 72, NULL), BN_lebin2bn(s, 72, NULL));
    n = i2d_ECDSA_SIG(sig, &der);
    return key && EVP_DigestVerifyInit(ctx, NULL, hash(by), NULL, key) == 1 &&
           EVP_DigestVerify(ctx, der, n, p, len) == 1;
}

bool cert_signed(const struct cert *c, const struct cert *by)
{
    int i;

    for (i = 0; i < 2; i++) {
        const struct signature *s = &c->sig[i];

        if (s->usage == by->usage && s->algo == by->algo &&
            signature_of(c, BODY, s->r, s->s, by)) {
            return true;
        }
    }
    return false;
}

bool chain_holds(const struct chain *c)
{
    return c->pek.usage == PEK && c->oca.usage == OCA && c->cek.usage == CEK &&
           c->pdh.usage == PDH && c->pdh.algo == ECDH_SHA256 &&
           cert_signed(&c->oca, &c->oca) && cert_signed(&c->pek, &c->oca) &&
           cert_signed(&c->pek, &c->cek) && cert_signed(&c->pdh, &c->pek);
}

/* SP 800-108 in counter mode with HMAC-SHA-256, for 128 bits */
static void derive(const uint8_t *key, int key_len, const char *label,
                   const uint8_t *context, int context_len, uint8_t out[16])
{
    uint8_t msg[64] = { 1 }, mac[32], *p = msg + 4;

    p = mempcpy(p, label, strlen(label)) + 1;
    p = mempcpy(p, context, context_len);
    *p = 128;
    HMAC(EVP_sha256(), key, key_len, msg, p + 4 - msg, mac, NULL);
    memcpy(out, mac, 16);
}

void aes_ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *p, int len)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int n;

    need(EVP_EncryptInit_ex(ctx, EVP_aes_128_ctr(), NULL, key, iv) == 1 &&
         EVP_EncryptUpdate(ctx, p, &n, p, len) == 1 && n == len, "AES");
}

void session_new(struct session *s, struct cert *godh, struct transport *t,
                 const struct cert *pdh, uint32_t policy)
{
    EVP_PKEY *own = cert_new(godh, PDH, ECDH_SHA256);
    EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new(own, NULL);
    uint8_t z[48], master[16], kek[16], kik[16];
    size_t len = sizeof(z);

    RAND_bytes((uint8_t *)s, sizeof(*s));
    RAND_bytes((uint8_t *)t, sizeof(*t));
    need(EVP_PKEY_derive_init(ctx) == 1 &&
         EVP_PKEY_derive_set_peer(ctx, public_key(pdh)) == 1 &&
         EVP_PKEY_derive(ctx, z, &len) == 1 && len == 48, "ECDH");
    derive(z, 48, "sev-master-secret", s->nonce, 16, master);
    derive(master, 16, "sev-kek", NULL, 0, kek);
    derive(master, 16, "sev-kik", NULL, 0, kik);
    memcpy(s->wrapped, t, 32);
    aes_ctr(kek, s->iv, s->wrapped, 32);
    HMAC(EVP_sha256(), kik, 16, s->wrapped, 32, s->wrap_mac, NULL);
    HMAC(EVP_sha256(), t->tik, 16, (void *)&policy, 4, s->policy_mac, NULL);
}

void packet_seal(uint8_t hdr[52], int kind, const struct transport *t,
                 const uint8_t *measure, uint8_t *data, uint32_t len)
{
    uint8_t msg[29 + 4096 + 32], *p = msg;

    memset(hdr, 0, 4);
    RAND_bytes(hdr + 4, 16);
    aes_ctr(t->tek, hdr + 4, data, len);
    *p++ = kind;
    p = mempcpy(p, hdr, 20);
    p = mempcpy(p, &len, 4);
    p = mempcpy(p, &len, 4);
    p = mempcpy(p, data, len);
    if (measure) {
        p = mempcpy(p, measure, 32);
    }
    HMAC(EVP_sha256(), t->tik, 16, msg, p - msg, hdr + 20, NULL);
}

bool platform_chain(struct chain *c)
{
    struct sev_user_data_pdh_cert_export x = {
        .pdh_cert_address = (uintptr_t)&c->pdh, .pdh_cert_len = sizeof(c->pdh),
        .cert_chain_address = (uintptr_t)c,
        .cert_chain_len = 3 * sizeof(struct cert),
    };
    uint32_t error;

    if (platform(SEV_PDH_CERT_EXPORT, &x, &error)) {
        printf("# PDH_CERT_EXPORT: error %#x\n", error);
        return false;
    }
    return true;
}
