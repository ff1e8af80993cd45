/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the parts of the SNP firmware know of each other.
 */
#ifndef I386_TCG_SNP_FIRMWARE_H
#define I386_TCG_SNP_FIRMWARE_H

#include "tcg/sev/firmware.h"
#include "tcg/sev/memory.h"
#include "rmp.h"

/* Commands come with these numbers; those below are SEV's and SEV-ES's */
enum { SNP_COMMANDS = 0x80 };

enum { SNP_DIGEST = 48, SNP_REPORT = 1184, SNP_KEY = 32 };

/* State of a guest, as SNP_GUEST_STATUS tells it */
enum { SG_INIT, SG_LAUNCH, SG_RUNNING };

/* A guest's policy */
enum {
    SNP_POLICY_SMT = 1 << 16, SNP_POLICY_ONE = 1 << 17, SNP_POLICY_MIGRATE_MA = 1 << 18,
    SNP_POLICY_DEBUG = 1 << 19, SNP_POLICY_SINGLE_SOCKET = 1 << 20,
};

/* What a guest's context page stands for */
typedef struct SnpGuest {
    uint64_t gctx;                      /* where that page is */
    uint8_t state;
    uint32_t asid;                      /* 0: not active */
    uint64_t policy, key;
    uint8_t gosvw[16];                  /* the hypervisor's, for the secrets page */
    uint8_t digest[SNP_DIGEST];         /* what was launched */
    uint8_t host_data[32], report_id[32];
    uint8_t vmpck[SNP_VMPLS][SNP_KEY];  /* keys of messages */
    uint64_t seq[SNP_VMPLS];            /* the last message's number, for each key */
    /* Of the ID block, if there was one */
    bool id_block, author_key_en;
    uint8_t id_key_digest[SNP_DIGEST], author_key_digest[SNP_DIGEST];
    uint8_t family_id[16], image_id[16];
    uint32_t guest_svn;
    bool vcek_disabled;
    uint64_t launch_tcb;
} SnpGuest;

enum { CONFIG_MASK_CHIP_ID = 1, CONFIG_MASK_CHIP_KEY = 2,
       CONFIG_MASKS = CONFIG_MASK_CHIP_ID | CONFIG_MASK_CHIP_KEY };

extern struct SnpFirmware {
    bool on;                            /* SNP_INIT_EX is done */
    bool rmp_init;                      /* the table was cleared since the reset */
    GHashTable *guests;                 /* by the address of the context page */
    uint64_t reported_tcb;              /* as SNP_CONFIG has it */
    bool vlek_loaded;
    uint8_t vlek[EC_BYTES];             /* private key, by VLEK_LOAD */
    uint32_t config;                    /* its flags: MASK_CHIP_ID, MASK_CHIP_KEY */
} snp_fw;

/* A command: @g is its guest, @b its buffer, which it does not change; gives the status */
typedef int SnpHandler(int cmd, SnpGuest *g, uint8_t *b);
typedef struct SnpCommand {
    const char *name, *when;
    uint8_t len;                        /* of what ccp hands over, in bytes */
    uint8_t platform, guest;            /* states; 0: it concerns no guest */
    SnpHandler *run;
} SnpCommand;
/* NULL: there is no such command */
const SnpCommand *snp_command(int cmd);
/* Run @cmd on its buffer @b; gives the status */
int snp_firmware_command(int cmd, uint8_t *b);
/* The processor was reset */
void snp_reset(void);
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
bool snp_firmware_page(uint64_t addr);
/* Take @pages pages from @base on, or give them up */
void snp_mark_firmware(uint64_t base, uint64_t pages);
void snp_mark_reclaim(uint64_t base, uint64_t pages);
/* No guest can ever have these pages, and the hypervisor keeps them */
void snp_mark_fixed(uint64_t base, uint64_t pages);

/* ---- chip.c: what is particular to this chip ---- */

/* Version of the firmware that runs, which is the one that was committed */
uint64_t snp_current_tcb(void);
/* Is each part of the version @a at most that of @b? */
bool snp_tcb_within(uint64_t a, uint64_t b);
uint8_t *snp_chip_id(uint8_t id[64]);
/* The chip's endorsement key for a TCB version: private key, little-endian */
void snp_vcek(uint64_t tcb, uint8_t key[EC_BYTES]);
/* What the issuer of certificates knows of this chip: its identity, the public half of that key; and a VLEK for it */
void snp_print_keys(uint64_t tcb);
/* vlek.c: a new VLEK, and its private half wrapped for this chip */
void snp_new_vlek(uint64_t tcb, uint8_t q[2][EC_BYTES], uint8_t hashstick[432]);
/* @len bytes that follow from the chip and the pieces, and from nothing else */
void snp_derive(const char *label, const SevBytes *v, void *out, size_t len);

/* ---- idblock.c ---- */

/* What the owner says of @g, and who the owner is; gives the status */
int snp_id_block(SnpGuest *g, uint64_t block, uint64_t auth, bool author);

/* ---- cpuid.c ---- */

/* True: @page promised what the processor has not, and does not any more */
bool snp_cpuid_page(uint8_t *page);

/* ---- report.c ---- */

/* Answer to a request for a report or a key: returns its length */
uint16_t snp_report_answer(SnpGuest *g, int vmpck, const uint8_t *req, uint8_t *answer);
uint16_t snp_key_answer(SnpGuest *g, int vmpck, const uint8_t *req, uint8_t *answer);

/* ---- launch.c ---- */

void snp_sha384(const void *p, size_t len, uint8_t hash[SNP_DIGEST]);

#endif
