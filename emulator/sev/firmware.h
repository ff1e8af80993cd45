/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The SEV firmware: what its files share.  Formats, numbers and rules are those
 * of AMD's Secure Encrypted Virtualization API; multi-byte fields are
 * little-endian.
 */
#ifndef I386_TCG_SEV_FIRMWARE_H
#define I386_TCG_SEV_FIRMWARE_H

#include "qemu/bswap.h"
#include "qemu/units.h"
#include "cpu.h"
#include "memory.h"

/* What PLATFORM_STATUS tells as the version; guests at once; bytes of a page */
enum { API_MAJOR = 1, API_MINOR = 55, API_BUILD = 21, MAX_GUESTS = 64, PAGE = SEV_PAGE };
enum { EC_BYTES = 72 };                 /* of a coordinate, scalar, r or s, padded with zeros */

/* Status codes of the SEV API and the SNP ABI */
enum {
    ST_OK, ST_PLATFORM_STATE, ST_GUEST_STATE, ST_CONFIG, ST_LEN, ST_OWNED, ST_CERTIFICATE,
    ST_POLICY, ST_INACTIVE, ST_ADDRESS, ST_SIGNATURE, ST_MEASUREMENT, ST_ASID_OWNED, ST_ASID,
    ST_DFFLUSH = 0xf, ST_GUEST, ST_COMMAND, ST_ACTIVE, ST_UNSUPPORTED = 0x15, ST_PARAM,
    ST_RESOURCE, ST_SECURE_DATA, ST_PAGE_SIZE, ST_PAGE_STATE, ST_PAGE_OWNER = 0x1c, ST_AEAD_OFLOW,
    ST_RMP_INIT_REQUIRED = 0x20,
};
/* Return @status from a handler if @if_so holds */
#define REFUSE(if_so, status) do { if (if_so) { return status; } } while (0)

/* States of the platform and of a guest, as PLATFORM_STATUS and GUEST_STATUS tell them */
enum { P_UNINIT, P_INIT, P_WORKING };
enum { G_UNINIT, G_LUPDATE, G_LSECRET, G_RUNNING, G_SUPDATE, G_RUPDATE, G_SENT };
/* A guest's policy: bits 5:0, and above them the API version that it asks for */
enum { POLICY_NODBG = 1, POLICY_NOKS = 2, POLICY_ES = 4, POLICY_NOSEND = 8, POLICY_DOMAIN = 16,
       POLICY_SEV = 32 };

/* A certificate of the SEV API, version 1 */
typedef struct QEMU_PACKED SevCert {
    uint32_t version;
    uint8_t api_major, api_minor, reserved[2];
    uint32_t usage, algo, curve;
    uint8_t q[2][EC_BYTES], reserved2[880];
    struct QEMU_PACKED { uint32_t usage, algo; uint8_t rs[2][EC_BYTES], zero[368]; } sig[2];
} SevCert;
QEMU_BUILD_BUG_ON(sizeof(SevCert) != 2084);
/* Bytes that a signature covers */
#define CERT_BODY       offsetof(SevCert, sig)
/* Usages of keys and signatures, and their algorithms */
enum { USAGE_NONE = 0x1000, USAGE_OCA, USAGE_PEK, USAGE_PDH, USAGE_CEK };
enum { ALGO_ECDSA = 2, ALGO_ECDH, ALGO_SHA384 = 0x100 };        /* else SHA-256 */

/* The platform's identity, which outlasts SHUTDOWN; private keys beside their certificates */
typedef struct SevIdentity {
    bool present, external;             /* external: its PEK was imported */
    SevCert oca, pek, pdh;
    uint8_t oca_key[EC_BYTES], pek_key[EC_BYTES], pdh_key[EC_BYTES];
} SevIdentity;
/* The one in use: that of the PSP's flash, or a copy of the NV area's */
extern SevIdentity *sev_id;
extern uint32_t sev_chip;               /* property "chip" of amd-psp: which of all chips this is */
/* Fill @p with @len bytes that follow from the chip and @label, which names their use; NULL: the CEK */
void sev_chip_bytes(void *label, size_t len, uint8_t *p);

/* Transport keys: encryption, integrity */
enum { TEK, TIK };
typedef struct SevGuest {
    uint8_t state;
    uint32_t policy, asid;              /* ASID 0: not active */
    uint64_t key;                       /* of sev_tcg_crypt(), 56 bits, never 0 */
    GChecksum *launched;                /* SHA-256 of what was launched; NULL: it was received */
    uint8_t measure[32];                /* as LAUNCH_MEASURE gave it: binds LAUNCH_SECRET */
    uint8_t tk[2][16];
} SevGuest;

extern struct SevFirmware {
    uint8_t state;                      /* P_... */
    bool es;                            /* INIT was for SEV-ES, too */
    int guests;                         /* handles in use */
    SevGuest guest[MAX_GUESTS];         /* handle - 1 */
    bool asid_stale[SEV_ASIDS_MAX + 1]; /* needs DF_FLUSH */
} sev_fw;

/*
 * Run @cmd on a copy of its buffer @b, of COMMAND_MAX bytes, which takes the
 * answer; gives the status.  Commands of SNP go on to tcg/snp.
 */
int sev_firmware_command(int cmd, uint8_t *b);
/* Print what is emulated and check how; false: something is wrong */
bool sev_self_test(void);

/* A command's handler: @g is its guest or NULL, @b its buffer; gives the status */
typedef int SevHandler(int cmd, SevGuest *g, uint8_t *b);
extern const struct SevCommand {
    const char *name, *when;
    uint8_t len;                        /* of what ccp hands over, in bytes */
    uint8_t platform, guest;            /* states; 0: it concerns no guest */
    SevHandler *run;
} sev_commands[0x62];
#define COMMAND_MAX     68              /* longest of all lengths */
/* Each runs the commands of its name; platform.c, guest.c, transport.c */
SevHandler sev_init, sev_shutdown, sev_factory_reset, sev_platform_status, sev_pek_gen,
    sev_pek_csr, sev_pek_cert_import, sev_pdh_cert_export, sev_pdh_gen, sev_df_flush,
    sev_download_firmware, sev_get_id, sev_decommission, sev_activate, sev_deactivate,
    sev_guest_status, sev_start, sev_launch_update, sev_launch_measure, sev_finish,
    sev_attestation, sev_debug, sev_send_start, sev_packet;

/* ---- memory: firmware.c ---- */

/* Physical address in a command's buffer at @p, from which the C-bit is taken */
#define sev_paddr(p)    (ldq_le_p(p) & ~sev_cbit_mask())
/* Copy @len bytes from (@write: to) @addr as the host sees them; false: there is no memory */
bool sev_host_io(uint64_t addr, void *buf, uint64_t len, bool write);
/* The same as @g sees them with its C-bit set; a write leaves @buf scrambled */
bool sev_guest_io(SevGuest *g, uint64_t addr, uint8_t *buf, uint32_t len, bool write);
/* Copy in the @size bytes whose address is at @p, and their length 8 bytes on; gives the status */
int sev_input(const uint8_t *p, void *buf, uint32_t size);
/*
 * Copy out @size bytes of @buf to the address at @p; @len bytes on stands how
 * much there is room for, and is told how much it takes; gives the status
 */
int sev_output(uint8_t *p, int len, void *buf, uint32_t size);

/* ---- cryptography: keys.c ---- */

/* A source of @len bytes, as nettle calls it */
typedef void SevRandom(void *ctx, size_t len, uint8_t *p);
/* QEMU's, which -seed can fix; @ctx is unused */
SevRandom sev_random;
/* HMAC-SHA-256 over pieces; the last of them has no address */
typedef struct SevBytes { const void *p; size_t len; } SevBytes;
void sev_hmac(const void *key, size_t key_len, uint8_t mac[32], const SevBytes *v);
#define HMAC(key, len, mac, ...) sev_hmac(key, len, mac, (SevBytes[]) { __VA_ARGS__, { NULL } })
/* SP 800-108 in counter mode with HMAC-SHA-256, for 128 bits; a nonce or NULL */
void sev_kdf(const void *key, size_t key_len, const char *label, const void *nonce, uint8_t *out);
/* AES-128 in counter mode over @p, in place; encrypts and decrypts */
void sev_ctr(const uint8_t *key, const uint8_t *iv, void *p, size_t len);
/* A new key pair, little-endian, with its public key if @q; @random decides which */
void sev_new_key(uint8_t key[EC_BYTES], uint8_t q[2][EC_BYTES], SevRandom *random, void *ctx);
/* A new key pair and the certificate of it */
void sev_cert_new(SevCert *c, uint32_t usage, uint8_t *key, SevRandom *random);
/* Is @c of that usage, with a public key on the curve?  Its signatures are not looked at */
bool sev_cert_is(const SevCert *c, uint32_t usage);
/* ECDSA with P-384 and SHA-256 by a private key, little-endian */
void sev_sign(const uint8_t *key, const void *p, size_t len, uint8_t rs[2][EC_BYTES]);
/* The same with SHA-384, as the SNP ABI has it; and its check by a public key */
void snp_sign(const uint8_t *key, const void *p, size_t len, uint8_t rs[2][EC_BYTES]);
bool snp_verify(const uint8_t pub[2][EC_BYTES], const void *p, size_t len, const uint8_t rs[2][EC_BYTES]);
/* Sign @c in its @slot (0, 1) with @key, whose usage is told; and: has @by signed it, in either slot? */
void sev_cert_sign(SevCert *c, int slot, uint32_t usage, const uint8_t *key);
bool sev_cert_signed(const SevCert *c, const SevCert *by);
/* ECDH with the key in @peer: x, big-endian, to @z; false: that key is none of P-384 */
bool sev_agree(const uint8_t *key, const SevCert *peer, uint8_t z[48]);

#endif
