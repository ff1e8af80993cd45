/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: the platform, its identity, and where that is kept.
 */
#include "qemu/osdep.h"
#include "firmware.h"

enum { CMD_INIT = 1, INIT_ES = 1, TMR_ALIGN = 1 * MiB, NV_SIZE = 32 * KiB };
enum { STATUS_EXTERNAL = 1, STATUS_ES = 0x100 };

/* Start of the area that INIT_EX names; only this chip can read it */
typedef struct Nv { uint8_t iv[16], mac[32]; SevIdentity id; } Nv;

uint32_t sev_chip;

/* In the PSP's own flash memory, or a copy of what is in the NV area */
static SevIdentity flash, nv_copy;
SevIdentity *sev_id = &flash;
static uint64_t nv;                     /* address of the NV area, 0: none */
static bool nv_void;                    /* by a factory reset */
static uint8_t chip_key[16], cek_key[EC_BYTES];
static SevCert cek;

void sev_chip_bytes(void *label, size_t len, uint8_t *p)
{
    const char *what = label ?: "cek";
    uint8_t mac[32], i;

    for (i = 0; i < len; i++) {
        HMAC(&sev_chip, 4, mac, { what, strlen(what) }, { &i, 1 });
        p[i] = mac[0];
    }
}

static void seal(Nv *n)
{
    HMAC(chip_key, 16, n->mac, { n->iv, 16 }, { &n->id, sizeof(n->id) });
}

static int keep(void)
{
    Nv n = { .id = *sev_id };

    sev_random(NULL, 16, n.iv);
    sev_ctr(chip_key, n.iv, &n.id, sizeof(n.id));
    seal(&n);
    return !nv || sev_host_io(nv, &n, sizeof(n), true) ? ST_OK : ST_ADDRESS;
}

static int load(void)
{
    uint8_t mac[32];
    Nv n;

    nv_copy.present = false;
    REFUSE(!sev_host_io(nv, &n, sizeof(n), false), ST_ADDRESS);
    /* Never used, it has nothing but ones */
    REFUSE(nv_void || (n.iv[0] == 0xff && !memcmp(&n, &n.iv[1], sizeof(n) - 1)), ST_OK);
    memcpy(mac, n.mac, 32);
    seal(&n);
    REFUSE(memcmp(mac, n.mac, 32), ST_SECURE_DATA);
    sev_ctr(chip_key, n.iv, &n.id, sizeof(n.id));
    nv_copy = n.id;
    return ST_OK;
}

int sev_init(int cmd, SevGuest *g, uint8_t *b)
{
    bool ex = cmd != CMD_INIT;
    uint32_t flags = ldl_le_p(b + (ex ? 4 : 0)), tmr_len = ldl_le_p(b + 16);
    uint64_t tmr = sev_paddr(b + 8);
    int st;

    nv = ex ? sev_paddr(b + 24) : 0;
    REFUSE(flags & ~INIT_ES, ST_PARAM);
    REFUSE((flags && tmr_len < TMR_ALIGN) || (ex && ldl_le_p(b) < 36) ||
           (nv && ldl_le_p(b + 32) < NV_SIZE), ST_LEN);
    REFUSE(flags && (!tmr || (tmr & (TMR_ALIGN - 1))), ST_ADDRESS);

    sev_chip_bytes((void *)"key", sizeof(chip_key), chip_key);
    sev_cert_new(&cek, USAGE_CEK, cek_key, sev_chip_bytes);
    sev_id = nv ? &nv_copy : &flash;
    st = nv ? load() : ST_OK;
    nv_void &= !nv;
    if (st != ST_ADDRESS && !sev_id->present) {
        st = sev_pek_gen(cmd, g, b) ?: st;
    }
    REFUSE(st, st);
    sev_fw.state = P_INIT;
    sev_fw.es = flags;
    return ST_OK;
}

int sev_factory_reset(int cmd, SevGuest *g, uint8_t *b)
{
    flash.present = false;
    nv_void = true;
    return ST_OK;
}

int sev_platform_status(int cmd, SevGuest *g, uint8_t *b)
{
    b[0] = API_MAJOR;
    b[1] = API_MINOR;
    b[2] = sev_fw.state;
    stl_le_p(b + 3, sev_fw.es * STATUS_ES | (sev_fw.state && sev_id->external) * STATUS_EXTERNAL);
    b[7] = API_BUILD;
    stl_le_p(b + 8, sev_fw.guests);
    return ST_OK;
}

int sev_pdh_gen(int cmd, SevGuest *g, uint8_t *b)
{
    sev_cert_new(&sev_id->pdh, USAGE_PDH, sev_id->pdh_key, sev_random);
    sev_cert_sign(&sev_id->pdh, 0, USAGE_PEK, sev_id->pek_key);
    return keep();
}

int sev_pek_gen(int cmd, SevGuest *g, uint8_t *b)
{
    sev_id->present = true;
    sev_id->external = false;
    sev_cert_new(&sev_id->oca, USAGE_OCA, sev_id->oca_key, sev_random);
    sev_cert_sign(&sev_id->oca, 0, USAGE_OCA, sev_id->oca_key);
    sev_cert_new(&sev_id->pek, USAGE_PEK, sev_id->pek_key, sev_random);
    sev_cert_sign(&sev_id->pek, 0, USAGE_OCA, sev_id->oca_key);
    sev_cert_sign(&sev_id->pek, 1, USAGE_CEK, cek_key);
    return sev_pdh_gen(cmd, g, b);
}

int sev_pek_csr(int cmd, SevGuest *g, uint8_t *b)
{
    SevCert csr = cek;                  /* for its two empty signatures */

    memcpy(&csr, &sev_id->pek, CERT_BODY);
    return sev_output(b, 8, &csr, sizeof(csr));
}

int sev_pek_cert_import(int cmd, SevGuest *g, uint8_t *b)
{
    SevCert pek, oca;
    int st = sev_input(b, &pek, sizeof(pek)) ?: sev_input(b + 16, &oca, sizeof(oca)), slot;

    REFUSE(st, st);
    REFUSE(sev_id->external, ST_OWNED);
    slot = le32_to_cpu(pek.sig[0].usage) == USAGE_OCA;          /* the CEK's */
    REFUSE(!sev_cert_is(&oca, USAGE_OCA) || memcmp(&pek, &sev_id->pek, CERT_BODY) ||
           le32_to_cpu(pek.sig[slot].usage) != USAGE_NONE, ST_CERTIFICATE);
    REFUSE(!sev_cert_signed(&oca, &oca) || !sev_cert_signed(&pek, &oca), ST_SIGNATURE);
    sev_cert_sign(&pek, slot, USAGE_CEK, cek_key);
    sev_id->oca = oca;
    sev_id->pek = pek;
    sev_id->external = true;
    return keep();
}

int sev_pdh_cert_export(int cmd, SevGuest *g, uint8_t *b)
{
    SevCert chain[3] = { sev_id->pek, sev_id->oca, cek };
    int st = sev_output(b, 8, &sev_id->pdh, sizeof(SevCert));

    return sev_output(b + 16, 8, chain, sizeof(chain)) ?: st;
}

int sev_df_flush(int cmd, SevGuest *g, uint8_t *b)
{
    memset(sev_fw.asid_stale, 0, sizeof(sev_fw.asid_stale));
    return ST_OK;
}

/* No image has a signature that this platform can verify */
int sev_download_firmware(int cmd, SevGuest *g, uint8_t *b)
{
    return !ldl_le_p(b + 8) ? ST_LEN : sev_paddr(b) & 15 ? ST_ADDRESS : ST_SIGNATURE;
}

int sev_get_id(int cmd, SevGuest *g, uint8_t *b)
{
    uint8_t id[64];

    sev_chip_bytes((void *)"id ", sizeof(id), id);
    return sev_output(b, 8, id, sizeof(id));
}
