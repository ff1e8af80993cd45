/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV-SNP: commands of the firmware, straight to its mailbox: states of the
 * platform, of guests and of pages, parameters, and errors.
 */
#include "snp.h"

#define POLICY_SMT      (1ull << 16)
#define POLICY_ONE      (1ull << 17)
#define POLICY_DEBUG    (1ull << 19)
#define GPA             0x10000000ull

/* The command has to give @want */
#define GIVES(want, command, a, b, c, d) \
    EXPECT(#command, snp_command(command, a, b, c, d), want)

/* Words of 64 bits and more of them */
static uint32_t start(uint64_t policy, uint32_t flags, uint32_t khz)
{
    uint64_t buffer[6] = { GCTX, policy, 0, flags | (uint64_t)khz << 32 };

    return firmware(CMD_LAUNCH_START, buffer);
}

static uint32_t finish(uint32_t flags)
{
    uint64_t buffer[8] = { GCTX, TEST, TEST + PAGE, flags };

    return firmware(CMD_LAUNCH_FINISH, buffer);
}

static bool platform_status(void)
{
    return GIVES(ST_PAGE_STATE, CMD_PLATFORM_STATUS, TEST, 0, 0, 0) &&
           GIVES(0, CMD_PLATFORM_STATUS, OUTPUT, 0, 0, 0) &&
           EXPECT("API", small(OUTPUT)[0], 1) && EXPECT("state", small(OUTPUT)[2], 1) &&
           EXPECT("RMP is there", small(OUTPUT)[3] & 1, 1) &&
           EXPECT("guests", field32(small(OUTPUT), 12), 0) &&
           GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) && GIVES(0, CMD_PLATFORM_STATUS, OUTPUT, 0, 0, 0) &&
           EXPECT("guests", field32(small(OUTPUT), 12), 1) && snp_decommission();
}

static bool feature_info(void)
{
    return GIVES(ST_LEN, CMD_FEATURE_INFO, 15, OUTPUT, 0, 0) &&
           GIVES(ST_PAGE_STATE, CMD_FEATURE_INFO, 16, TEST, 0, 0) &&
           GIVES(0, CMD_FEATURE_INFO, 16, OUTPUT, 0, 0);
}

static bool context(void)
{
    return GIVES(ST_ADDRESS, CMD_GCTX_CREATE, GCTX + 8, 0, 0, 0) &&
           GIVES(ST_PAGE_STATE, CMD_GCTX_CREATE, TEST, 0, 0, 0) &&
           GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
           GIVES(ST_PAGE_STATE, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
           /* Nothing else becomes of a context page */
           GIVES(ST_PAGE_STATE, CMD_PAGE_RECLAIM, GCTX, 0, 0, 0) &&
           GIVES(ST_GUEST, CMD_DECOMMISSION, OUTPUT, 0, 0, 0) &&
           GIVES(ST_ADDRESS, CMD_DECOMMISSION, GCTX + 8, 0, 0, 0) &&
           GIVES(0, CMD_DECOMMISSION, GCTX, 0, 0, 0) &&
           GIVES(ST_GUEST, CMD_DECOMMISSION, GCTX, 0, 0, 0) &&
           EXPECT("entry", rmp(GCTX), RMP_ASSIGNED | RMP_IMMUTABLE);
}

/* What is allowed from GCTX_CREATE on, from LAUNCH_START on, from LAUNCH_FINISH on */
static bool states(void)
{
    bool ok = GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
              GIVES(ST_GUEST_STATE, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
              GIVES(ST_GUEST_STATE, CMD_LAUNCH_UPDATE, GCTX, TYPE_NORMAL << 1, TEST, 0) &&
              GIVES(ST_GUEST_STATE, CMD_GUEST_REQUEST, GCTX, TEST, OUTPUT, 0) &&
              EXPECT("LAUNCH_FINISH", finish(0), ST_GUEST_STATE) &&
              EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0) &&
              EXPECT("LAUNCH_START", start(POLICY, 0, 0), ST_GUEST_STATE) &&
              GIVES(ST_GUEST_STATE, CMD_GUEST_REQUEST, GCTX, TEST, OUTPUT, 0) &&
              GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
              EXPECT("LAUNCH_FINISH", finish(0), 0) &&
              EXPECT("LAUNCH_FINISH", finish(0), ST_GUEST_STATE) &&
              EXPECT("LAUNCH_START", start(POLICY, 0, 0), ST_GUEST_STATE) &&
              GIVES(ST_GUEST_STATE, CMD_LAUNCH_UPDATE, GCTX, TYPE_NORMAL << 1, TEST, 0);

    return snp_decommission() && ok;
}

static bool guest_status(void)
{
    bool ok = GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
              GIVES(ST_PAGE_STATE, CMD_GUEST_STATUS, GCTX, TEST, 0, 0) &&
              GIVES(0, CMD_GUEST_STATUS, GCTX, OUTPUT, 0, 0) && EXPECT("state", small(OUTPUT)[12], 0) &&
              EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0) &&
              GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
              GIVES(0, CMD_GUEST_STATUS, GCTX, OUTPUT, 0, 0) &&
              EXPECT("policy", field64(small(OUTPUT), 0), POLICY) &&
              EXPECT("ASID", field32(small(OUTPUT), 8), SNP_ASID) &&
              EXPECT("state", small(OUTPUT)[12], 1) && EXPECT("LAUNCH_FINISH", finish(0), 0) &&
              GIVES(0, CMD_GUEST_STATUS, GCTX, OUTPUT, 0, 0) && EXPECT("state", small(OUTPUT)[12], 2);

    return snp_decommission() && ok;
}

static bool launch_start(void)
{
    bool ok = GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
              EXPECT("without bit 17", start(POLICY_SMT, 0, 0), ST_POLICY) &&
              EXPECT("an ABI that is to come", start(POLICY | 0xff00, 0, 0), ST_POLICY) &&
              EXPECT("bit 63", start(POLICY | 1ull << 63, 0, 0), ST_POLICY) &&
              EXPECT("an unknown flag", start(POLICY, 8, 0), ST_PARAM) &&
              EXPECT("a migration agent", start(POLICY, 1, 0), ST_UNSUPPORTED) &&
              EXPECT("a frequency", start(POLICY, 0, 1000000), ST_UNSUPPORTED) &&
              EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0);

    return snp_decommission() && ok;
}

static bool activate(void)
{
    uint64_t other = FREE_PAGES;
    bool ok;

    ok = EXPECT("RMPUPDATE", rmpupdate(other, 0, FIRMWARE_PAGE, 0), 0) &&
         GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) && EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0) &&
         GIVES(ST_ASID, CMD_ACTIVATE, GCTX, 0, 0, 0) &&
         GIVES(ST_ASID, CMD_ACTIVATE, GCTX, processor.min_sev_asid, 0, 0) &&     /* of SEV guests */
         GIVES(ST_ASID, CMD_ACTIVATE, GCTX, processor.asids + 1, 0, 0) &&
         GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
         GIVES(ST_ACTIVE, CMD_ACTIVATE, GCTX, SNP_ASID + 1, 0, 0) &&
         GIVES(0, CMD_DECOMMISSION, GCTX, 0, 0, 0) &&
         /* The ASID is not reused before its data has been flushed from the caches */
         GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) && EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0) &&
         GIVES(ST_DFFLUSH, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
         GIVES(0, CMD_DF_FLUSH, 0, 0, 0, 0) && GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0);
    if (ok) {
        uint64_t buffer[6] = { other, POLICY };

        ok = GIVES(0, CMD_GCTX_CREATE, other, 0, 0, 0) &&
             EXPECT("LAUNCH_START", firmware(CMD_LAUNCH_START, buffer), 0) &&
             GIVES(ST_ASID_OWNED, CMD_ACTIVATE, other, SNP_ASID, 0, 0) &&
             GIVES(0, CMD_DECOMMISSION, other, 0, 0, 0);
    }
    ok &= snp_decommission();
    snp_take(other, other + PAGE);
    return ok;
}

static bool launch_update(void)
{
    uint64_t page = TEST + 2 * PAGE;
    bool ok;

    ok = GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) && EXPECT("LAUNCH_START", start(POLICY, 0, 0), 0) &&
         EXPECT("RMPUPDATE", rmpupdate(page, GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
         EXPECT("not active", snp_update(page, TYPE_NORMAL, false, 0), ST_INACTIVE) &&
         GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
         EXPECT("type 0", snp_update(page, 0, false, 0), ST_PARAM) &&
         EXPECT("type 7", snp_update(page, 7, false, 0), ST_PARAM) &&
         EXPECT("a VMSA of 2 MiB", snp_update(TEST, TYPE_VMSA, true, 0), ST_PARAM) &&
         EXPECT("within a page", snp_update(page + 8, TYPE_NORMAL, false, 0), ST_ADDRESS) &&
         EXPECT("beyond memory", snp_update(1ull << 46, TYPE_NORMAL, false, 0), ST_ADDRESS) &&
         EXPECT("nobody's page", snp_update(page + PAGE, TYPE_NORMAL, false, 0), ST_PAGE_OWNER) &&
         EXPECT("a page of the firmware", snp_update(OUTPUT, TYPE_NORMAL, false, 0), ST_PAGE_OWNER) &&
         EXPECT("2 MiB of one page", snp_update(TEST, TYPE_NORMAL, true, 0), ST_PAGE_OWNER) &&
         EXPECT("RMPUPDATE", rmpupdate(page + PAGE, GPA + PAGE, ASSIGNED, SNP_ASID), 0) &&
         EXPECT("not immutable", snp_update(page + PAGE, TYPE_NORMAL, false, 0), ST_PAGE_STATE) &&
         EXPECT("LAUNCH_UPDATE", snp_update(page, TYPE_NORMAL, false, 0), 0) &&
         EXPECT("entry", rmp(page), RMP_ASSIGNED | RMP_VALIDATED | GPA | RMP_ASID(SNP_ASID)) &&
         EXPECT("again", snp_update(page, TYPE_NORMAL, false, 0), ST_PAGE_STATE);
    ok &= snp_decommission();
    snp_take(TEST, TEST + LARGE);
    return ok;
}

/* Of each type: what is made of the page, and of its entry */
static bool launch_types(void)
{
    static const uint8_t types[] = { TYPE_NORMAL, TYPE_VMSA, TYPE_ZERO, TYPE_UNMEASURED, TYPE_SECRETS };
    uint64_t page = TEST, state = RMP_ASSIGNED | RMP_VALIDATED | RMP_ASID(SNP_ASID);
    bool ok = true;
    unsigned i;

    snp_start();
    for (i = 0; i < sizeof(types); i++, page += PAGE) {
        memset(small(page), 0x77, PAGE);
        ok &= EXPECT("RMPUPDATE", rmpupdate(page, GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
              EXPECT("LAUNCH_UPDATE", snp_update(page, types[i], false, 0), 0) &&
              EXPECT("entry", rmp(page), state | GPA | (types[i] == TYPE_VMSA ? RMP_VMSA : 0)) &&
              EXPECT("DBG_DECRYPT", snp_command(CMD_DBG_DECRYPT, GCTX, page, OUTPUT, 0), 0) &&
              EXPECT("byte 4095", small(OUTPUT)[4095],
                     types[i] == TYPE_ZERO || types[i] == TYPE_SECRETS ? 0 : 0x77) &&
              EXPECT("version of the secrets", field32(small(OUTPUT), 0) == 3, types[i] == TYPE_SECRETS);
    }
    ok &= snp_decommission();
    snp_take(TEST, TEST + LARGE);
    return ok;
}

static bool launch_large(void)
{
    bool ok;

    snp_start();
    memset(small(TEST + LARGE - PAGE), 0x33, PAGE);
    ok = EXPECT("RMPUPDATE", rmpupdate(TEST, LARGE, ASSIGNED | SIZE_2M | IMMUTABLE, SNP_ASID), 0) &&
         EXPECT("4 KiB of it", snp_update(TEST, TYPE_NORMAL, false, 0), ST_PAGE_SIZE) &&
         EXPECT("LAUNCH_UPDATE", snp_update(TEST, TYPE_NORMAL, true, 0), 0) &&
         EXPECT("entry", rmp(TEST), RMP_ASSIGNED | RMP_2M | RMP_VALIDATED | LARGE | RMP_ASID(SNP_ASID)) &&
         EXPECT("DBG_DECRYPT", snp_command(CMD_DBG_DECRYPT, GCTX, TEST + LARGE - PAGE, OUTPUT, 0), 0) &&
         EXPECT("last byte", small(OUTPUT)[4095], 0x33);
    ok &= snp_decommission();
    snp_take(TEST, TEST + LARGE);
    return ok;
}

/* An ID block whose signature is none, and flags that are none */
static bool launch_finish(void)
{
    bool ok;

    snp_start();
    memset(small(TEST), 0, 2 * PAGE);
    ok = EXPECT("an unknown flag", finish(0x80), ST_PARAM) &&
         EXPECT("an ID block without algorithm", finish(1), ST_PARAM);
    field32(small(TEST), 80) = 1;               /* version */
    field32(small(TEST + PAGE), 0) = 1;         /* ECDSA P-384 with SHA-384 */
    field32(small(TEST + PAGE), 0x240) = 2;     /* P-384 */
    ok &= EXPECT("an ID block without signature", finish(1), ST_SIGNATURE) &&
          EXPECT("LAUNCH_FINISH", finish(0), 0);
    return snp_decommission() && ok;
}

/* Firmware and pre-guest pages; not the hypervisor's, not a guest's */
static bool reclaim(void)
{
    uint64_t page = TEST;
    bool ok;

    snp_start();
    ok = GIVES(ST_PAGE_STATE, CMD_PAGE_RECLAIM, page, 0, 0, 0) &&
         GIVES(ST_ADDRESS, CMD_PAGE_RECLAIM, page + 8, 0, 0, 0) &&
         EXPECT("RMPUPDATE", rmpupdate(page, GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
         GIVES(0, CMD_PAGE_RECLAIM, page, 0, 0, 0) && EXPECT("entry", rmp(page), RMP_ASSIGNED) &&
         EXPECT("RMPUPDATE", rmpupdate(page, GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
         EXPECT("LAUNCH_UPDATE", snp_update(page, TYPE_NORMAL, false, 0), 0) &&
         GIVES(ST_PAGE_STATE, CMD_PAGE_RECLAIM, page, 0, 0, 0) &&
         EXPECT("RMPUPDATE", rmpupdate(TEST + LARGE, LARGE, ASSIGNED | SIZE_2M | IMMUTABLE, SNP_ASID), 0) &&
         GIVES(ST_PAGE_SIZE, CMD_PAGE_RECLAIM, TEST + LARGE, 0, 0, 0) &&
         GIVES(0, CMD_PAGE_RECLAIM, (TEST + LARGE) | 1, 0, 0, 0);
    ok &= snp_decommission();
    snp_take(TEST, TEST + 2 * LARGE);
    return ok;
}

static bool debugging(void)
{
    uint64_t page = TEST, i, bad = 0;
    bool ok;

    snp_start();
    memset(small(page), 0x42, PAGE);
    memset(small(page + PAGE), 0x99, PAGE);
    ok = EXPECT("RMPUPDATE", rmpupdate(page, GPA, ASSIGNED | IMMUTABLE, SNP_ASID), 0) &&
         EXPECT("LAUNCH_UPDATE", snp_update(page, TYPE_NORMAL, false, 0), 0) &&
         GIVES(ST_PAGE_OWNER, CMD_DBG_DECRYPT, GCTX, page + PAGE, OUTPUT, 0) &&
         GIVES(ST_PAGE_STATE, CMD_DBG_DECRYPT, GCTX, page, page + 2 * PAGE, 0) &&
         GIVES(ST_ADDRESS, CMD_DBG_DECRYPT, GCTX, page + 16, OUTPUT, 0) &&
         GIVES(0, CMD_DBG_DECRYPT, GCTX, page, OUTPUT, 0);
    for (i = 0; i < PAGE; i++) {
        bad += small(OUTPUT)[i] != 0x42 || small(page)[i] == 0x42;
    }
    ok &= EXPECT("bytes that are wrong, or that the host reads", bad < 64, 1) &&
          GIVES(0, CMD_DBG_ENCRYPT, GCTX, page + PAGE, page, 0) &&
          GIVES(0, CMD_DBG_DECRYPT, GCTX, page, OUTPUT, 0) && EXPECT("byte", small(OUTPUT)[9], 0x99) &&
          snp_decommission();
    snp_take(TEST, TEST + LARGE);

    /* A policy that does not allow it */
    ok &= GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
          EXPECT("LAUNCH_START", start(POLICY & ~POLICY_DEBUG, 0, 0), 0) &&
          GIVES(0, CMD_ACTIVATE, GCTX, SNP_ASID, 0, 0) &&
          GIVES(ST_POLICY, CMD_DBG_DECRYPT, GCTX, page, OUTPUT, 0) &&
          GIVES(ST_POLICY, CMD_DBG_ENCRYPT, GCTX, OUTPUT, page, 0);
    return snp_decommission() && ok;
}

static bool not_without_init(void)
{
    static const uint8_t commands[] = {
        CMD_DF_FLUSH, CMD_DECOMMISSION, CMD_ACTIVATE, CMD_GUEST_STATUS, CMD_GCTX_CREATE,
        CMD_GUEST_REQUEST, CMD_LAUNCH_START, CMD_LAUNCH_UPDATE, CMD_LAUNCH_FINISH, CMD_DBG_DECRYPT,
        CMD_DBG_ENCRYPT, CMD_PAGE_RECLAIM,
    };
    uint64_t buffer[8] = { 8 };
    bool ok = true;
    unsigned i;

    snp_take(OUTPUT, OUTPUT + PAGE);
    snp_take(GCTX, GCTX + PAGE);
    ok &= EXPECT("SHUTDOWN_EX", firmware(CMD_SHUTDOWN_EX, buffer), 0);
    for (i = 0; i < sizeof(commands); i++) {
        buffer[0] = GCTX;
        ok &= EXPECT("without INIT", firmware(commands[i], buffer), ST_PLATFORM_STATE);
    }
    /* Before SNP_INIT_EX, the answer may go anywhere */
    ok &= GIVES(0, CMD_PLATFORM_STATUS, TEST, 0, 0, 0) && EXPECT("state", small(TEST)[2], 0);
    wrmsr(MSR_HSAVE, 0);
    ok &= EXPECT("SNP_INIT_EX", snp_init(1, 0), 0);
    wrmsr(MSR_HSAVE, (uintptr_t)hsave);
    snp_pages();
    return ok && GIVES(ST_COMMAND, 0x8f, 0, 0, 0, 0) && GIVES(ST_COMMAND, 0xff, 0, 0, 0, 0);
}

static bool shutdown(void)
{
    uint64_t buffer[8] = { 8 }, unknown[8] = { 8 | 8ull << 32 }, length[8] = { 4 };
    bool ok = EXPECT("a length", firmware(CMD_SHUTDOWN_EX, length), ST_LEN) &&
              EXPECT("an unknown flag", firmware(CMD_SHUTDOWN_EX, unknown), ST_PARAM) &&
              GIVES(0, CMD_GCTX_CREATE, GCTX, 0, 0, 0) &&
              EXPECT("with a guest", firmware(CMD_SHUTDOWN_EX, buffer), ST_PLATFORM_STATE);

    return snp_decommission() && ok;
}

const struct bare_test snp_firmware_tests[] = {
    { "SNP_PLATFORM_STATUS: state, guests, and where it goes", platform_status },
    { "SNP_FEATURE_INFO: its length, and where it goes", feature_info },
    { "SNP_GCTX_CREATE and SNP_DECOMMISSION: states of the page", context },
    { "SNP commands in each state of a guest", states },
    { "SNP_GUEST_STATUS: policy, ASID, state", guest_status },
    { "SNP_LAUNCH_START: policy and flags", launch_start },
    { "SNP_ACTIVATE: ASIDs, and SNP_DF_FLUSH between two guests", activate },
    { "SNP_LAUNCH_UPDATE: type, address, owner and state of the page", launch_update },
    { "SNP_LAUNCH_UPDATE: what each type makes of a page", launch_types },
    { "SNP_LAUNCH_UPDATE of 2 MiB", launch_large },
    { "SNP_LAUNCH_FINISH: flags, and an ID block that nobody signed", launch_finish },
    { "SNP_PAGE_RECLAIM: which pages, and of which size", reclaim },
    { "SNP_DBG_DECRYPT and SNP_DBG_ENCRYPT: owner, output, policy", debugging },
    { "SNP_SHUTDOWN_EX: length, flags, and not while there is a guest", shutdown },
    { "SNP commands before SNP_INIT_EX, and such that there are not", not_without_init },
    { NULL, NULL }
};
