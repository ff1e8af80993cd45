/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The platform's identity: its keys and certificates, who owns it, and where
 * they last.
 */
#include <fcntl.h>
#include <linux/psp-sev.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "owner.h"
#include "tests.h"

#define NV "/tmp/nv"

static bool gives(int ret, uint32_t error, uint32_t want)
{
    if ((ret < 0) != (want != 0) || error != want) {
        printf("# returned %d, error %#x instead of %#x\n", ret, error, want);
        return false;
    }
    return true;
}

static bool same(const struct chain *a, const struct chain *b)
{
    return !memcmp(a, b, sizeof(*a));
}

static bool external(void)
{
    struct sev_user_data_status s;
    uint32_t error;

    platform(SEV_PLATFORM_STATUS, &s, &error);
    return s.flags & 1;
}

/* ccp and kvm_amd in anew; with a parameter of ccp's */
static bool reload(const char *parameter)
{
    char line[256];

    snprintf(line, sizeof(line), "modprobe -r kvm_amd ccp && modprobe ccp %s && "
             "modprobe kvm_amd sev_es=1", parameter);
    return system(line) == 0;
}

static bool export(void)
{
    struct sev_user_data_pdh_cert_export none = { 0 };
    struct chain c, again;
    uint32_t error;
    int ret = platform(SEV_PDH_CERT_EXPORT, &none, &error);

    return gives(ret, error, 4) && none.pdh_cert_len == 2084 &&
           none.cert_chain_len == 3 * 2084 &&
           platform_chain(&c) && chain_holds(&c) && !external() &&
           platform_chain(&again) && same(&c, &again);
}

static bool new_keys(void)
{
    struct chain a, b, c;
    uint32_t error;

    return platform_chain(&a) && !platform(SEV_PDH_GEN, NULL, &error) &&
           platform_chain(&b) && chain_holds(&b) && !memcmp(&a, &b, 3 * 2084) &&
           memcmp(a.pdh.x, b.pdh.x, 48) &&
           !platform(SEV_PEK_GEN, NULL, &error) && platform_chain(&c) &&
           chain_holds(&c) && memcmp(c.pek.x, b.pek.x, 48) &&
           memcmp(c.oca.x, b.oca.x, 48) && memcmp(c.pdh.x, b.pdh.x, 48) &&
           !memcmp(&c.cek, &a.cek, 2084);
}

static bool import(const struct cert *pek, const struct cert *oca, uint32_t want)
{
    struct sev_user_data_pek_cert_import i = {
        .pek_cert_address = (uintptr_t)pek, .pek_cert_len = sizeof(*pek),
        .oca_cert_address = (uintptr_t)oca, .oca_cert_len = sizeof(*oca),
    };
    uint32_t error;
    int ret = platform(SEV_PEK_CERT_IMPORT, &i, &error);

    return gives(ret, error, want);
}

/* From a platform that owns itself to one of ours, and back */
static bool provision(uint32_t algo)
{
    struct sev_user_data_pek_csr none = { 0 }, csr = { 0 };
    struct cert pek, oca, bad;
    struct chain c;
    EVP_PKEY *key = cert_new(&oca, OCA, algo);
    uint32_t error;
    int ret = platform(SEV_PEK_CSR, &none, &error);

    csr.address = (uintptr_t)&pek;
    csr.length = sizeof(pek);
    if (!gives(ret, error, 4) || none.length != sizeof(pek) ||
        platform(SEV_PEK_CSR, &csr, &error) || pek.usage != PEK ||
        pek.sig[0].usage != NONE || pek.sig[1].usage != NONE) {
        return false;
    }
    cert_sign(&oca, 0, &oca, key);
    if (!import(&pek, &oca, 0xa)) {             /* not signed */
        return false;
    }
    cert_sign(&pek, 0, &oca, key);
    bad = pek;
    bad.x[0] ^= 1;                              /* not the platform's */
    if (!import(&bad, &oca, 6)) {
        return false;
    }
    bad = pek;
    bad.sig[0].s[0] ^= 1;
    if (!import(&bad, &oca, 0xa)) {
        return false;
    }
    bad = oca;
    bad.y[0] ^= 1;                              /* no point of the curve */
    if (!import(&pek, &bad, 6)) {
        return false;
    }
    bad = oca;
    bad.sig[0].r[0] ^= 1;
    return import(&pek, &bad, 0xa) && import(&pek, &oca, 0) && external() &&
           platform_chain(&c) && chain_holds(&c) &&
           !memcmp(&c.oca, &oca, sizeof(oca)) && import(&pek, &oca, 5) &&
           !platform(SEV_PEK_GEN, NULL, &error) && !external();
}

static bool provision_sha256(void)
{
    return provision(ECDSA_SHA256);
}

static bool provision_sha384(void)
{
    return provision(ECDSA_SHA384);
}

static bool nv_file(bool zeros)
{
    int fd = open(NV, O_WRONLY | O_CREAT | O_TRUNC, 0600), i;
    uint8_t block[1024];

    memset(block, zeros ? 0 : 0xff, sizeof(block));
    for (i = 0; i < 32; i++) {
        if (write(fd, block, sizeof(block)) != sizeof(block)) {
            return false;
        }
    }
    return close(fd) == 0;
}

/* Does the chain now differ from @a?  It is put there */
static bool another(struct chain *a)
{
    struct chain b = *a;

    return platform_chain(a) && chain_holds(a) && !same(a, &b);
}

static bool init_ex(void)
{
    struct chain flash, c, d;
    uint32_t error;
    bool ok;
    int fd;

    if (!platform_chain(&flash) || !nv_file(false)) {
        return false;
    }
    sev_close();
    c = flash;
    ok = reload("init_ex_path=" NV) && another(&c);
    d = c;
    /* It lasts, and so does what changes */
    ok = ok && sev_close() && reload("init_ex_path=" NV) && platform_chain(&d) && same(&c, &d) &&
         !platform(SEV_PDH_GEN, NULL, &error) && another(&c);
    d = c;
    ok = ok && sev_close() && reload("init_ex_path=" NV) && platform_chain(&d) && same(&c, &d);
    /* Altered: refused, made anew, and the driver's second try succeeds */
    fd = open(NV, O_WRONLY);
    ok = ok && fd >= 0 && pwrite(fd, "x", 1, 100) == 1 && !close(fd) && sev_close() &&
         reload("init_ex_path=" NV) && another(&c);
    /* As does a file that was never one */
    ok = ok && sev_close() && nv_file(true) && reload("init_ex_path=" NV) && another(&c);
    /* The PSP's own memory has not changed all the time */
    return sev_close() && reload("") && ok && platform_chain(&c) && same(&c, &flash);
}

static bool factory_reset(void)
{
    struct sev_user_data_status s;
    struct chain c;
    uint32_t error;

    return platform_chain(&c) && !platform(SEV_FACTORY_RESET, NULL, &error) &&
           !platform(SEV_PLATFORM_STATUS, &s, &error) && s.state == 0 &&
           another(&c);
}

/* No image is AMD's */
static bool download(void)
{
    bool ok;

    ok = system("mkdir -p /lib/firmware/amd && head -c 4096 /dev/urandom "
                ">/lib/firmware/amd/sev.fw && dmesg -C") == 0 &&
         reload("dyndbg=+p") &&
         system("dmesg | grep -q 'Failed to update SEV firmware: 0xa$'") == 0;
    return unlink("/lib/firmware/amd/sev.fw") == 0 && reload("") && ok;
}

const struct test certificate_tests[] = {
    { "PDH_CERT_EXPORT: the chain holds", export },
    { "PEK_GEN and PDH_GEN: what is new and what stays", new_keys },
    { "PEK_CSR and PEK_CERT_IMPORT, SHA-256", provision_sha256 },
    { "PEK_CSR and PEK_CERT_IMPORT, SHA-384", provision_sha384 },
    { "FACTORY_RESET", factory_reset },
    { "INIT_EX and its file", init_ex },
    { "DOWNLOAD_FIRMWARE of no image of AMD's", download },
    { NULL, NULL }
};
