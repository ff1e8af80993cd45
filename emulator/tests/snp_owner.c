/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the owner of an SEV-SNP guest computes: the measurement of its launch,
 * and the ID block by which the firmware compares it.
 */
#include <err.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <string.h>
#include "owner.h"
#include "snp.h"

#define DIGEST          48

struct id_block {
    uint8_t digest[DIGEST], family[16], image[16];
    uint32_t version, svn;
    uint64_t policy;
};
_Static_assert(sizeof(struct id_block) == 96, "ID block");

struct public_key {
    uint32_t curve;
    uint8_t x[72], y[72], zero[880];
};

struct id_auth {
    uint32_t id_algo, author_algo;
    uint8_t reserved1[56];
    struct { uint8_t r[72], s[72], zero[368]; } block_sig;
    struct public_key id_key;
    uint8_t reserved2[60];
    struct { uint8_t r[72], s[72], zero[368]; } id_key_sig;
    struct public_key author_key;
    uint8_t reserved3[892];
};
_Static_assert(sizeof(struct id_auth) == 4096, "ID authentication");

static void sha384(const void *p, size_t len, uint8_t digest[DIGEST])
{
    if (EVP_Digest(p, len, digest, NULL, EVP_sha384(), NULL) != 1) {
        errx(1, "libcrypto: digest");
    }
}

/* One page more in the chain of digests */
static void measure(uint8_t digest[DIGEST], const void *page, int type, uint64_t gpa)
{
    struct __attribute__((packed)) {
        uint8_t digest[DIGEST], contents[DIGEST];
        uint16_t len;
        uint8_t type, imi, reserved, perms[3];
        uint64_t gpa;
    } info = { .len = sizeof(info), .type = type, .gpa = gpa };

    memcpy(info.digest, digest, DIGEST);
    if (page) {
        sha384(page, PAGE, info.contents);
    }
    sha384(&info, sizeof(info), digest);
}

/* A machine without CPUs, so that the test knows all that is measured */
static struct vm *launched(uint8_t digest[DIGEST])
{
    struct vm *vm = vm_new_empty(SNP);
    int i;

    memset(digest, 0, DIGEST);
    RAND_bytes(vm->mem + SECRET_PAGE, 3 * PAGE);
    if (snp_start(vm, SNP_POLICY) ||
        snp_update(vm, SECRET_PAGE, vm->mem + SECRET_PAGE, 3 * PAGE, KVM_SEV_SNP_PAGE_TYPE_NORMAL) ||
        snp_update(vm, 0x1000, NULL, PAGE, KVM_SEV_SNP_PAGE_TYPE_ZERO) ||
        snp_update(vm, 0x2000, vm->mem + 0x2000, PAGE, KVM_SEV_SNP_PAGE_TYPE_UNMEASURED) ||
        snp_update(vm, 0x3000, vm->mem + 0x3000, PAGE, KVM_SEV_SNP_PAGE_TYPE_SECRETS)) {
        err(1, "launch (firmware error %#x)", vm->error);
    }
    for (i = 0; i < 3; i++) {
        measure(digest, vm->mem + SECRET_PAGE + i * PAGE, KVM_SEV_SNP_PAGE_TYPE_NORMAL,
                SECRET_PAGE + i * PAGE);
    }
    measure(digest, NULL, KVM_SEV_SNP_PAGE_TYPE_ZERO, 0x1000);
    measure(digest, NULL, KVM_SEV_SNP_PAGE_TYPE_UNMEASURED, 0x2000);
    measure(digest, NULL, KVM_SEV_SNP_PAGE_TYPE_SECRETS, 0x3000);
    return vm;
}

static struct id_block block;
static struct id_auth auth;
static EVP_PKEY *id_key, *author_key;

static void sign_block(void)
{
    signature_new(&block, sizeof(block), id_key, EVP_sha384(), auth.block_sig.r, auth.block_sig.s);
}

static void id_block(const uint8_t digest[DIGEST])
{
    struct cert c;

    block = (struct id_block) { .family = "family", .image = "image", .version = 1, .svn = 5,
                                .policy = SNP_POLICY };
    memcpy(block.digest, digest, DIGEST);
    memset(&auth, 0, sizeof(auth));
    auth.id_algo = auth.author_algo = 1;
    id_key = cert_new(&c, 0, 0);
    memcpy(&auth.id_key, &c.curve, sizeof(auth.id_key));
    author_key = cert_new(&c, 0, 0);
    memcpy(&auth.author_key, &c.curve, sizeof(auth.author_key));
    sign_block();
    signature_new(&auth.id_key, sizeof(auth.id_key), author_key, EVP_sha384(), auth.id_key_sig.r,
                  auth.id_key_sig.s);
}

static int finish(struct vm *vm, bool author)
{
    struct kvm_sev_snp_launch_finish f = {
        .id_block_uaddr = (uintptr_t)&block, .id_auth_uaddr = (uintptr_t)&auth,
        .id_block_en = 1, .auth_key_en = author,
    };

    return vm_sev(vm, KVM_SEV_SNP_LAUNCH_FINISH, &f);
}

static bool refused(struct vm *vm, bool author, uint32_t error)
{
    if (!finish(vm, author) || vm->error != error) {
        printf("# error %#x instead of %#x\n", vm->error, error);
        return false;
    }
    return true;
}

/* The firmware finds the measurement that the owner has computed, and no other */
static bool measurement(void)
{
    uint8_t digest[DIGEST];
    struct vm *vm = launched(digest);

    id_block(digest);
    block.digest[7] ^= 1;
    sign_block();
    if (!refused(vm, false, 0xb)) {
        return false;
    }
    block.digest[7] ^= 1;
    sign_block();
    return !finish(vm, false);
}

static bool signatures(void)
{
    uint8_t digest[DIGEST];
    struct vm *vm = launched(digest);

    id_block(digest);
    block.svn++;                        /* after it was signed */
    if (!refused(vm, false, 0xa)) {
        return false;
    }
    block.svn--;
    auth.id_key_sig.r[3] ^= 1;
    if (!refused(vm, true, 0xa)) {
        return false;
    }
    auth.id_key_sig.r[3] ^= 1;
    auth.id_algo = 2;
    if (!refused(vm, true, 0x16)) {
        return false;
    }
    auth.id_algo = 1;
    return !finish(vm, true);
}

static bool policy(void)
{
    uint8_t digest[DIGEST];
    struct vm *vm = launched(digest);

    id_block(digest);
    block.policy = SNP_POLICY & ~(1ull << 19);
    sign_block();
    return refused(vm, false, 7);
}

const struct test snp_owner_tests[] = {
    { "SNP: the measurement is what the owner computes", measurement },
    { "SNP: the ID block's signature and its key's", signatures },
    { "SNP: the ID block's policy", policy },
    { NULL, NULL }
};
