/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What is particular to this chip: its identity, and the keys that follow from
 * it.
 */
#include "qemu/osdep.h"
#include "firmware.h"

/* Parts of a TCB version: boot loader, TEE, SNP firmware, microcode */
#define TCB(boot, tee, snp, ucode) \
    ((boot) | (uint64_t)(tee) << 8 | (uint64_t)(snp) << 48 | (uint64_t)(ucode) << 56)

uint64_t snp_current_tcb(void)
{
    return TCB(4, 0, 23, 209);
}

bool snp_tcb_within(uint64_t a, uint64_t b)
{
    int i;

    for (i = 0; i < 64; i += 8) {
        if (extract64(a, i, 8) > extract64(b, i, 8)) {
            return false;
        }
    }
    return true;
}

uint8_t *snp_chip_id(uint8_t id[64])
{
    sev_chip_bytes((void *)"id ", 64, id);
    return id;
}

void snp_derive(const char *label, const SevBytes *v, void *out, size_t len)
{
    uint8_t secret[32], mac[32];

    assert(len <= sizeof(mac));
    sev_chip_bytes((void *)label, sizeof(secret), secret);
    sev_hmac(secret, sizeof(secret), mac, v);
    memcpy(out, mac, len);
}

/* SubjectPublicKeyInfo of a point of P-384, up to the point's coordinates */
static const uint8_t spki[] = {
    0x30, 0x76, 0x30, 0x10, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x05, 0x2b,
    0x81, 0x04, 0x00, 0x22, 0x03, 0x62, 0x00, 0x04,
};

static void print_hex(const char *name, const uint8_t *p, size_t len)
{
    printf("%s ", name);
    while (len--) {
        printf("%02x", *p++);
    }
    printf("\n");
}

static void print_key(const char *name, const uint8_t q[2][EC_BYTES])
{
    uint8_t der[sizeof(spki) + 96];
    g_autofree char *pem = NULL;
    int i;

    memcpy(der, spki, sizeof(spki));
    for (i = 0; i < 96; i++) {
        der[sizeof(spki) + i] = q[i / 48][47 - i % 48];
    }
    pem = g_base64_encode(der, sizeof(der));
    printf("%s\n-----BEGIN PUBLIC KEY-----\n", name);
    for (i = 0; i < strlen(pem); i += 64) {
        printf("%.64s\n", pem + i);
    }
    printf("-----END PUBLIC KEY-----\n");
}

void snp_print_keys(uint64_t tcb)
{
    uint8_t key[EC_BYTES], q[2][EC_BYTES], id[64], hashstick[432];
    g_autofree char *label = g_strdup_printf("vcek %016" PRIx64, tcb);

    print_hex("chip-id", snp_chip_id(id), sizeof(id));
    printf("tcb %016" PRIx64 "\n", tcb);
    sev_new_key(key, q, sev_chip_bytes, label);
    print_key("vcek", q);
    snp_new_vlek(tcb, q, hashstick);
    print_key("vlek", q);
    print_hex("vlek-hashstick", hashstick, sizeof(hashstick));
}

void snp_vcek(uint64_t tcb, uint8_t key[EC_BYTES])
{
    g_autofree char *label = g_strdup_printf("vcek %016" PRIx64, tcb);

    sev_new_key(key, NULL, sev_chip_bytes, label);
}
