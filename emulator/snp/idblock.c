/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: the ID block, by which a guest's owner says what is to run,
 * and the keys that sign it.
 */
#include "qemu/osdep.h"
#include "firmware.h"

enum { CURVE_P384 = 2, ALGO_ECDSA_P384_SHA384 = 1 };

typedef struct QEMU_PACKED PublicKey {
    uint32_t curve;
    uint8_t q[2][EC_BYTES], zero[880];
} PublicKey;

typedef struct QEMU_PACKED Signature { uint8_t rs[2][EC_BYTES], zero[368]; } Signature;

typedef struct QEMU_PACKED IdBlock {
    uint8_t digest[SNP_DIGEST], family_id[16], image_id[16];
    uint32_t version, guest_svn;
    uint64_t policy;
} IdBlock;
QEMU_BUILD_BUG_ON(sizeof(IdBlock) != 96);

typedef struct QEMU_PACKED IdAuth {
    uint32_t id_algo, author_algo;
    uint8_t reserved1[56];
    Signature block_sig;
    PublicKey id_key;
    uint8_t reserved2[60];
    Signature id_key_sig;
    PublicKey author_key;
    uint8_t reserved3[892];
} IdAuth;
QEMU_BUILD_BUG_ON(sizeof(IdAuth) != PAGE);

static int check(const PublicKey *key, const void *p, size_t len, const Signature *sig)
{
    return le32_to_cpu(key->curve) == CURVE_P384 && snp_verify(key->q, p, len, sig->rs) ?
           ST_OK : ST_SIGNATURE;
}

int snp_id_block(SnpGuest *g, uint64_t block_addr, uint64_t auth_addr, bool author)
{
    IdBlock block;
    IdAuth auth;

    REFUSE(snp_input(block_addr, &block, sizeof(block)) || snp_input(auth_addr, &auth, sizeof(auth)),
           ST_ADDRESS);
    REFUSE(le32_to_cpu(auth.id_algo) != ALGO_ECDSA_P384_SHA384 || le32_to_cpu(block.version) != 1 ||
           (author && le32_to_cpu(auth.author_algo) != ALGO_ECDSA_P384_SHA384), ST_PARAM);
    REFUSE(check(&auth.id_key, &block, sizeof(block), &auth.block_sig), ST_SIGNATURE);
    REFUSE(author && check(&auth.author_key, &auth.id_key, sizeof(auth.id_key), &auth.id_key_sig),
           ST_SIGNATURE);
    REFUSE(memcmp(block.digest, g->digest, SNP_DIGEST), ST_MEASUREMENT);
    REFUSE(le64_to_cpu(block.policy) != g->policy, ST_POLICY);
    memcpy(g->family_id, block.family_id, sizeof(g->family_id));
    memcpy(g->image_id, block.image_id, sizeof(g->image_id));
    g->guest_svn = le32_to_cpu(block.guest_svn);
    snp_sha384(&auth.id_key, sizeof(auth.id_key), g->id_key_digest);
    if (author) {
        snp_sha384(&auth.author_key, sizeof(auth.author_key), g->author_key_digest);
    }
    g->id_block = true;
    g->author_key_en = author;
    return ST_OK;
}
