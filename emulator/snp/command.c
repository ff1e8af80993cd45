/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: its commands, and when each is allowed.
 */
#include "qemu/osdep.h"
#include "firmware.h"

struct SnpFirmware snp_fw;

/* When a command is allowed: states of the platform; of its guest, if it has one */
enum { UNINIT = 1, INIT = 2, ALWAYS = UNINIT | INIT };
enum { NONE = 0, GINIT = 1 << SG_INIT, LAUNCH = 1 << SG_LAUNCH, RUNNING = 1 << SG_RUNNING,
       ANY = GINIT | LAUNCH | RUNNING };

#define C(n, name, len, platform, guest, run) \
    [n - SNP_COMMANDS] = { #name, "platform " #platform ", guest " #guest, len, platform, guest, run }
static const SnpCommand commands[] = {
    C(0x81, SNP_INIT, 0, UNINIT, NONE, snp_init),
    C(0x83, SNP_PLATFORM_STATUS, 8, ALWAYS, NONE, snp_platform_status),
    C(0x84, SNP_DF_FLUSH, 0, INIT, NONE, snp_df_flush),
    C(0x85, SNP_INIT_EX, 64, UNINIT, NONE, snp_init),
    C(0x86, SNP_SHUTDOWN_EX, 8, ALWAYS, NONE, snp_shutdown),
    C(0x90, SNP_DECOMMISSION, 8, INIT, ANY, snp_decommission),
    C(0x91, SNP_ACTIVATE, 12, INIT, LAUNCH | RUNNING, snp_activate),
    C(0x92, SNP_GUEST_STATUS, 16, INIT, ANY, snp_guest_status),
    C(0x93, SNP_GCTX_CREATE, 8, INIT, NONE, snp_gctx_create),
    C(0x94, SNP_GUEST_REQUEST, 24, INIT, RUNNING, snp_guest_request),
    C(0xa0, SNP_LAUNCH_START, 48, INIT, GINIT, snp_launch_start),
    C(0xa1, SNP_LAUNCH_UPDATE, 32, INIT, LAUNCH, snp_launch_update),
    C(0xa2, SNP_LAUNCH_FINISH, 64, INIT, LAUNCH, snp_launch_finish),
    C(0xb0, SNP_DBG_DECRYPT, 24, INIT, LAUNCH | RUNNING, snp_debug),
    C(0xb1, SNP_DBG_ENCRYPT, 24, INIT, LAUNCH | RUNNING, snp_debug),
    C(0xc7, SNP_PAGE_RECLAIM, 8, INIT, NONE, snp_page_reclaim),
    C(0xc9, SNP_CONFIG, 64, INIT, NONE, snp_config),
    C(0xcb, SNP_COMMIT, 4, ALWAYS, NONE, snp_commit),
    C(0xcd, SNP_VLEK_LOAD, 16, INIT, NONE, snp_vlek_load),
    C(0xce, SNP_FEATURE_INFO, 16, ALWAYS, NONE, snp_feature_info),
};

const SnpCommand *snp_command(int cmd)
{
    int n = cmd - SNP_COMMANDS;

    return n >= 0 && n < ARRAY_SIZE(commands) && commands[n].run ? &commands[n] : NULL;
}

int snp_firmware_command(int cmd, uint8_t *b)
{
    const SnpCommand *c = snp_command(cmd);
    uint64_t gctx = sev_paddr(b);
    SnpGuest *g = NULL;

    REFUSE(!c || !snp_rmp_base, ST_COMMAND);
    REFUSE(!(c->platform & (snp_fw.on ? INIT : UNINIT)), ST_PLATFORM_STATE);
    if (c->guest) {
        REFUSE(gctx & (PAGE - 1), ST_ADDRESS);
        g = g_hash_table_lookup(snp_fw.guests, &gctx);
        REFUSE(!g, ST_GUEST);
        REFUSE(!(c->guest & 1 << g->state), ST_GUEST_STATE);
    }
    return c->run(cmd, g, b);
}
