/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * -device amd-psp,self-test=on: what is emulated, as the code that does it says
 * by itself, and whether it computes what others do.
 */
#include "qemu/osdep.h"
#include "firmware.h"
#include "vmcb.h"
#include "compat.h"
#include "tcg/snp/firmware.h"

static bool well = true;

static void check(const char *what, bool ok)
{
    printf("%s %s\n", ok ? "ok" : "not ok", what);
    well &= ok;
}

static void print_all(CPUX86State *env)
{
    static const char *const who[] = { "the host", "an SEV guest", "an SEV-ES guest" };
    uint32_t a = 0, b = 0, c = 0, d = 0, i, msr;

    sev_tcg_cpuid(env, &a, &b, &c, &d);
    check("x-sev-tcg", c == sev_model()->asids);
    printf("CPUID 0x8000001f: eax=%#x ebx=%#x ecx=%#x edx=%#x\n"
           "ASIDs: 1 to %d SEV-ES, %d to %d SEV; C-bit %d\n", a, b, c, d, d - 1, d, c, b & 63);
    for (i = 0; i < 3; i++) {
        env->hflags |= i ? HF_GUEST_MASK : 0;
        env->sev.cbit = i ? sev_cbit_mask() : 0;
        env->sev.vmsa = i == 2 ? PAGE : 0;
        printf("MSRs of %s:", who[i]);
        for (msr = 0xc0010000; msr < 0xc0012000; msr++) {
            env->regs[R_ECX] = msr;
            if (sev_tcg_rdmsr(env, 0)) {
                printf(" %#x", msr);
            }
        }
        printf("\n");
    }
    printf("Exits of an SEV-ES guest that are automatic (all others are #VC):");
    for (i = 0; i <= SVM_EXIT_VMGEXIT; i++) {
        if (svm_tcg_automatic_exit(i, 0)) {
            printf(" %#x%s", i, svm_tcg_automatic_exit(i, PG_ERROR_RSVD_MASK) ? "" :
                   " (without a reserved bit)");
        }
    }
    printf("\nPrivate memory: %s the host\nFirmware: API %d.%d build %d\n",
           sev_tcg_opaque ? "scrambled for" : "readable by", API_MAJOR, API_MINOR, API_BUILD);
    for (i = 0; i < ARRAY_SIZE(sev_commands); i++) {
        if (sev_commands[i].run) {
            printf("  %#04x %s: %d bytes; %s\n", i, sev_commands[i].name, sev_commands[i].len,
                   sev_commands[i].when);
        }
    }
    for (i = SNP_COMMANDS; i <= UINT8_MAX; i++) {
        const SnpCommand *c = snp_command(i);

        if (c) {
            printf("  %#04x %s: %d bytes; %s\n", i, c->name, c->len, c->when);
        }
    }
}

/* A VLEK comes to the chip whole, or not at all; what it signs, its public half verifies */
static void check_vlek(void)
{
    uint8_t q[2][EC_BYTES], rs[2][EC_BYTES], hashstick[432], b[16] = { sizeof(b) };

    snp_new_vlek(snp_current_tcb(), q, hashstick);
    stq_le_p(b + 8, 1 * MiB);
    hashstick[100] ^= 1;
    sev_host_io(1 * MiB, hashstick, sizeof(hashstick), true);
    check("altered VLEK", snp_vlek_load(0, NULL, b) == ST_MEASUREMENT && !snp_fw.vlek_loaded);
    hashstick[100] ^= 1;
    sev_host_io(1 * MiB, hashstick, sizeof(hashstick), true);
    check("SNP_VLEK_LOAD", !snp_vlek_load(0, NULL, b) && snp_fw.vlek_loaded);
    snp_sign(snp_fw.vlek, hashstick, sizeof(hashstick), rs);
    check("signature by the VLEK", snp_verify(q, hashstick, sizeof(hashstick), rs));
    rs[1][0] ^= 1;
    check("altered signature", !snp_verify(q, hashstick, sizeof(hashstick), rs));
}

bool sev_self_test(void)
{
    static const uint8_t aes[] = "\x66\xe9\x4b\xd4\xef\x8a\x2c\x3b\x88\x4c\xfa\x59\xca\x34\x2b\x2e";
    static const uint8_t kdf[] = "\xab\x4d\x26\x9f\xcc\x62\xbe\xdb\x45\x11\xd5\x6c\x38\x6c\xe7\x06";
    /* Of INIT to LAUNCH_MEASURE: command, and words of its buffer */
    const uint32_t launch[][6] = {
        { 0x01 }, { 0x30 }, { 0x21, 1, sev_model()->min_sev_asid }, { 0x31, 1, 0, 1 * MiB, 0, PAGE },
        { 0x33, 1, 0, 2 * MiB, 0, 48 },
    };
    uint8_t zero[PAGE] = { 0 }, buf[PAGE] = { 0 }, head[8] = { 4, API_MAJOR, API_MINOR, API_BUILD };
    g_autoptr(GHmac) mac = g_hmac_new(G_CHECKSUM_SHA256, zero, 16);
    SevCert pdh;
    gsize n = 32;
    int i;

    print_all(cpu_env(first_cpu));
    sev_ctr(zero, zero, buf, 16);
    check("AES-128 in counter mode", !memcmp(buf, aes, 16));
    sev_kdf(zero, 16, "sev-master-secret", zero, buf);
    check("key derivation", !memcmp(buf, kdf, 16));
    sev_host_io(1 * MiB, zero, PAGE, true);
    for (i = 0; i < ARRAY_SIZE(launch); i++) {
        uint32_t b[COMMAND_MAX / 4] = { 0 };

        memcpy(b, &launch[i][1], 20);
        check(sev_commands[launch[i][0]].name, !sev_firmware_command(launch[i][0], (uint8_t *)b));
    }
    sev_host_io(1 * MiB, buf, PAGE, false);
    check("private memory", sev_tcg_opaque == !!memcmp(buf, zero, PAGE));
    /* The same by another library */
    sev_host_io(2 * MiB, buf, 48, false);
    g_checksum_get_digest(sev_fw.guest[0].launched, buf + 48, &n);
    g_hmac_update(mac, head, 8);
    g_hmac_update(mac, buf + 48, 32);
    g_hmac_update(mac, buf + 32, 16);
    g_hmac_get_digest(mac, buf + 48, &n);
    check("measurement", !memcmp(buf, buf + 48, 32));
    pdh = sev_id->pdh;
    pdh.q[0][0] ^= 1;
    check("certificate", sev_cert_signed(&sev_id->pdh, &sev_id->pek));
    check("altered certificate", !sev_cert_signed(&pdh, &sev_id->pek));
    check_vlek();
    return well;
}
