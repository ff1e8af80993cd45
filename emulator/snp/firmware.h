/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The SNP firmware: what its files share.  Formats, numbers and rules are those
 * of AMD's SEV-SNP Firmware ABI Specification, in the chapter of each command.
 */
#ifndef I386_TCG_SNP_FIRMWARE_H
#define I386_TCG_SNP_FIRMWARE_H

#include "tcg/sev/firmware.h"
#include "tcg/sev/memory.h"
#include "rmp.h"

/* Commands come with these numbers; those below are SEV's and SEV-ES's */
enum { SNP_COMMANDS = 0x80 };

/* Bytes of a SHA-384 digest, of an attestation report, of a message key or a derived one */
enum { SNP_DIGEST = 48, SNP_REPORT = 1184, SNP_KEY = 32 };

/* State of a guest, as SNP_GUEST_STATUS tells it */
enum { SG_INIT, SG_LAUNCH, SG_RUNNING };

/* A guest's policy; below, the API version that it asks for */
enum {
    SNP_POLICY_SMT = 1 << 16, SNP_POLICY_ONE = 1 << 17, SNP_POLICY_MIGRATE_MA = 1 << 18,
    SNP_POLICY_DEBUG = 1 << 19, SNP_POLICY_SINGLE_SOCKET = 1 << 20,
};

/* What a guest's context page stands for */
typedef struct SnpGuest {
    uint64_t gctx;                      /* where that page is */
    uint8_t state;
    uint32_t asid;                      /* 0: not active */
    uint64_t policy, key;               /* key: of sev_tcg_crypt() */
    uint8_t gosvw[16];                  /* the hypervisor's, for the secrets page */
    uint8_t digest[SNP_DIGEST];         /* of what was launched, so far */
    uint8_t host_data[32], report_id[32];
    uint8_t vmpck[SNP_VMPLS][SNP_KEY];  /* keys of messages */
    uint64_t seq[SNP_VMPLS];            /* the last message's number, for each key */
    /* Of the ID block, if there was one */
    bool id_block, author_key_en;
    uint8_t id_key_digest[SNP_DIGEST], author_key_digest[SNP_DIGEST];
    uint8_t family_id[16], image_id[16];
    uint32_t guest_svn;
    bool vcek_disabled;                 /* by LAUNCH_FINISH: reports by the VLEK alone */
    uint64_t launch_tcb;                /* TCB version at GCTX_CREATE */
} SnpGuest;

/* Flags of SNP_CONFIG */
enum { CONFIG_MASK_CHIP_ID = 1, CONFIG_MASK_CHIP_KEY = 2,
       CONFIG_MASKS = CONFIG_MASK_CHIP_ID | CONFIG_MASK_CHIP_KEY };

extern struct SnpFirmware {
    bool on;                            /* SNP_INIT_EX is done */
    bool rmp_init;                      /* the table was cleared since the reset */
    GHashTable *guests;                 /* by the address of the context page */
    uint64_t reported_tcb;              /* as SNP_CONFIG has it */
    bool vlek_loaded;
    uint8_t vlek[EC_BYTES];             /* private key, by VLEK_LOAD */
    uint32_t config;                    /* CONFIG_..., by SNP_CONFIG */
} snp_fw;

/* A command's handler: @g is its guest or NULL, @b its buffer, which stays; gives the status */
typedef int SnpHandler(int cmd, SnpGuest *g, uint8_t *b);
typedef struct SnpCommand {
    const char *name, *when;
    uint8_t len;                        /* of what ccp hands over, in bytes */
    uint8_t platform, guest;            /* states; 0: it concerns no guest */
    SnpHandler *run;
} SnpCommand;
/* Command number @cmd, or NULL if there is none */
const SnpCommand *snp_command(int cmd);
/* Run @cmd on its buffer @b; gives the status */
int snp_firmware_command(int cmd, uint8_t *b);
/* Back to the state after a reset of the processor */
void snp_reset(void);
/* Each runs the commands of its name; platform.c, vlek.c, page.c, guest.c, launch.c, message.c */
SnpHandler snp_init, snp_shutdown, snp_platform_status, snp_df_flush, snp_feature_info, snp_config,
    snp_commit, snp_vlek_load, snp_page_reclaim, snp_gctx_create, snp_activate, snp_decommission,
    snp_guest_status, snp_debug, snp_launch_start, snp_launch_update, snp_launch_finish,
    snp_guest_request;

/* ---- page.c: states of pages ---- */

/* May the firmware write @len bytes at @addr?  Gives the status */
int snp_output_page(uint64_t addr, uint64_t len);
/* Write an answer to a page of the firmware's; gives the status */
int snp_output(uint64_t addr, void *buf, uint64_t len);
/* Read what the hypervisor has at @addr; gives the status */
int snp_input(uint64_t addr, void *buf, uint64_t len);
/* Is the page around @addr in Firmware state? */
bool snp_firmware_page(uint64_t addr);
/* Put @pages pages from @base on into Firmware state, or Reclaim */
void snp_mark_firmware(uint64_t base, uint64_t pages);
void snp_mark_reclaim(uint64_t base, uint64_t pages);
/* The same into HV-Fixed: the hypervisor keeps them, no guest can have them */
void snp_mark_fixed(uint64_t base, uint64_t pages);

/* ---- chip.c: what is particular to this chip ---- */

/* Version of the firmware that runs, which is the one that was committed */
uint64_t snp_current_tcb(void);
/* Is each part of the version @a at most that of @b? */
bool snp_tcb_within(uint64_t a, uint64_t b);
/* Fill @id with the chip's identity, as GET_ID tells it, and give it back */
uint8_t *snp_chip_id(uint8_t id[64]);
/* The chip's endorsement key for a TCB version: private key, little-endian */
void snp_vcek(uint64_t tcb, uint8_t key[EC_BYTES]);
/* Print what the issuer of certificates needs, for emulator/kds: chip, TCB version, public VCEK and VLEK, hashstick */
void snp_print_keys(uint64_t tcb);
/* vlek.c: a new VLEK for @tcb: public point, little-endian, and private half wrapped for this chip */
void snp_new_vlek(uint64_t tcb, uint8_t q[2][EC_BYTES], uint8_t hashstick[432]);
/* @len bytes, at most 32, that follow from the chip, @label and the pieces @v alone */
void snp_derive(const char *label, const SevBytes *v, void *out, size_t len);

/* ---- idblock.c ---- */

/* Check the ID block at @block against @g, and the keys at @auth, of an @author too; gives the status */
int snp_id_block(SnpGuest *g, uint64_t block, uint64_t auth, bool author);

/* ---- cpuid.c ---- */

/* Take from the CPUID @page of a launch what the processor has not; true: there was something */
bool snp_cpuid_page(uint8_t *page);

/* ---- report.c ---- */

/*
 * Answer MSG_REPORT_REQ, MSG_KEY_REQ from the payload @req of a message that is
 * sealed with key number @vmpck; gives the answer's length in bytes
 */
uint16_t snp_report_answer(SnpGuest *g, int vmpck, const uint8_t *req, uint8_t *answer);
uint16_t snp_key_answer(SnpGuest *g, int vmpck, const uint8_t *req, uint8_t *answer);

/* ---- launch.c ---- */

/* SHA-384 of @len bytes at @p */
void snp_sha384(const void *p, size_t len, uint8_t hash[SNP_DIGEST]);

#endif
