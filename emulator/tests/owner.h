/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the owner of a platform or of a guest computes, with libcrypto.
 */
#ifndef OWNER_H
#define OWNER_H

#include <openssl/evp.h>
#include "vmm.h"

enum { NONE = 0x1000, OCA, PEK, PDH, CEK };
enum { ECDSA_SHA256 = 2, ECDH_SHA256 = 3, ECDSA_SHA384 = 0x102 };

struct cert {
    uint32_t version;
    uint8_t api[2], reserved[2];
    uint32_t usage, algo, curve;
    uint8_t x[72], y[72], zero[880];
    struct signature {
        uint32_t usage, algo;
        uint8_t r[72], s[72], zero[368];
    } sig[2];
};
_Static_assert(sizeof(struct cert) == 2084, "certificate of version 1");

struct chain {
    struct cert pek, oca, cek, pdh;
};

struct session {
    uint8_t nonce[16], wrapped[32], iv[16], wrap_mac[32], policy_mac[32];
};

struct transport {
    uint8_t tek[16], tik[16];
};

/* A key pair and its certificate; free nothing, each test is a process */
EVP_PKEY *cert_new(struct cert *c, uint32_t usage, uint32_t algo);
void signature_new(const void *p, size_t len, EVP_PKEY *key, const EVP_MD *md, uint8_t r[72],
                   uint8_t s[72]);
void cert_sign(struct cert *c, int slot, const struct cert *by, EVP_PKEY *key);
bool cert_signed(const struct cert *c, const struct cert *by);
bool signature_of(const void *p, size_t len, const uint8_t r[72],
                  const uint8_t s[72], const struct cert *by);
bool chain_holds(const struct chain *c);

/* A session for @pdh, with new transport keys */
void session_new(struct session *s, struct cert *godh, struct transport *t,
                 const struct cert *pdh, uint32_t policy);
void aes_ctr(const uint8_t key[16], const uint8_t iv[16], uint8_t *p, int len);
/* The packet of a secret or of migration: its data is encrypted in place */
void packet_seal(uint8_t hdr[52], int kind, const struct transport *t,
                 const uint8_t *measure, uint8_t *data, uint32_t len);

bool platform_chain(struct chain *c);

#endif
