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

void snp_print_vcek(uint64_t tcb)
{
    uint8_t key[EC_BYTES], q[2][EC_BYTES], der[sizeof(spki) + 96], id[64];
    g_autofree char *label = g_strdup_printf("vcek %016" PRIx64, tcb), *pem = NULL;
    int i;

    sev_new_key(key, q, sev_chip_bytes, label);
    memcpy(der, spki, sizeof(spki));
    for (i = 0; i < 96; i++) {
        der[sizeof(spki) + i] = q[i / 48][47 - i % 48];
    }
    pem = g_base64_encode(der, sizeof(der));
    printf("chip-id ");
    snp_chip_id(id);
    for (i = 0; i < sizeof(id); i++) {
        printf("%02x", id[i]);
    }
    printf("\ntcb %016" PRIx64 "\n-----BEGIN PUBLIC KEY-----\n", tcb);
    for (i = 0; i < strlen(pem); i += 64) {
        printf("%.64s\n", pem + i);
    }
    printf("-----END PUBLIC KEY-----\n");
}

void snp_vcek(uint64_t tcb, uint8_t key[EC_BYTES])
{
    g_autofree char *label = g_strdup_printf("vcek %016" PRIx64, tcb);

    sev_new_key(key, NULL, sev_chip_bytes, label);
}
