/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: its commands, when each is allowed, and memory as they see it.
 */
#include "qemu/osdep.h"
#include "compat.h"
#include "firmware.h"
#include "tcg/snp/firmware.h"

struct SevFirmware sev_fw;

/* When a command is allowed: states of the platform; of its guest, if it has one */
enum { UNINIT = 1 << P_UNINIT, INIT = 1 << P_INIT, UP = INIT | 1 << P_WORKING };
enum { LUPDATE = 1 << G_LUPDATE, LSECRET = 1 << G_LSECRET, RUNNING = 1 << G_RUNNING,
       SUPDATE = 1 << G_SUPDATE, RUPDATE = 1 << G_RUPDATE, ANY = 0x7f, NONE = 0,
       ACTIVE = 0x80 };                 /* it has an ASID */

#define C(n, name, len, platform, guest, run) \
    [n] = { #name, "platform " #platform ", guest " #guest, len, platform, guest, run }
const struct SevCommand sev_commands[] = {
    C(0x01, INIT, 20, UNINIT, NONE, sev_init),
    C(0x02, SHUTDOWN, 0, UNINIT | INIT, NONE, sev_shutdown),
    C(0x03, FACTORY_RESET, 0, UNINIT, NONE, sev_factory_reset),
    C(0x04, PLATFORM_STATUS, 12, ANY, NONE, sev_platform_status),
    C(0x05, PEK_GEN, 0, INIT, NONE, sev_pek_gen),
    C(0x06, PEK_CSR, 12, INIT, NONE, sev_pek_csr),
    C(0x07, PEK_CERT_IMPORT, 28, INIT, NONE, sev_pek_cert_import),
    C(0x08, PDH_CERT_EXPORT, 28, UP, NONE, sev_pdh_cert_export),
    C(0x09, PDH_GEN, 0, UP, NONE, sev_pdh_gen),
    C(0x0a, DF_FLUSH, 0, UP, NONE, sev_df_flush),
    C(0x0b, DOWNLOAD_FIRMWARE, 12, UNINIT, NONE, sev_download_firmware),
    C(0x0c, GET_ID, 12, ANY, NONE, sev_get_id),
    C(0x0d, INIT_EX, 36, UNINIT, NONE, sev_init),
    C(0x20, DECOMMISSION, 4, UP, ANY, sev_decommission),
    C(0x21, ACTIVATE, 8, UP, ANY, sev_activate),
    C(0x22, DEACTIVATE, 4, UP, ANY, sev_deactivate),
    C(0x23, GUEST_STATUS, 13, UP, ANY, sev_guest_status),
    C(0x30, LAUNCH_START, 36, UP, NONE, sev_start),
    C(0x31, LAUNCH_UPDATE_DATA, 20, UP, LUPDATE | ACTIVE, sev_launch_update),
    C(0x32, LAUNCH_UPDATE_VMSA, 20, UP, LUPDATE | ACTIVE, sev_launch_update),
    C(0x33, LAUNCH_MEASURE, 20, UP, LUPDATE, sev_launch_measure),
    C(0x34, LAUNCH_UPDATE_SECRET, 52, UP, LSECRET | ACTIVE, sev_packet),
    C(0x35, LAUNCH_FINISH, 4, UP, LUPDATE | LSECRET, sev_finish),
    C(0x36, ATTESTATION, 36, UP, LSECRET | RUNNING, sev_attestation),
    C(0x40, SEND_START, 68, UP, RUNNING, sev_send_start),
    C(0x41, SEND_UPDATE_DATA, 52, UP, SUPDATE | ACTIVE, sev_packet),
    C(0x43, SEND_FINISH, 4, UP, SUPDATE, sev_finish),
    C(0x44, SEND_CANCEL, 4, UP, SUPDATE, sev_finish),
    C(0x50, RECEIVE_START, 36, UP, NONE, sev_start),
    C(0x51, RECEIVE_UPDATE_DATA, 52, UP, RUPDATE | ACTIVE, sev_packet),
    C(0x53, RECEIVE_FINISH, 4, UP, RUPDATE, sev_finish),
    C(0x60, DBG_DECRYPT, 28, UP, ANY | ACTIVE, sev_debug),
    C(0x61, DBG_ENCRYPT, 28, UP, ANY | ACTIVE, sev_debug),
};

int sev_firmware_command(int cmd, uint8_t *b)
{
    const struct SevCommand *c = &sev_commands[cmd];
    uint32_t n = ldl_le_p(b) - 1;
    SevGuest *g = NULL;

    if (cmd >= SNP_COMMANDS) {
        return snp_firmware_command(cmd, b);
    }
    REFUSE(cmd >= ARRAY_SIZE(sev_commands) || !c->run, ST_COMMAND);
    REFUSE(!(c->platform & 1 << sev_fw.state), ST_PLATFORM_STATE);
    if (c->guest) {
        REFUSE(n >= MAX_GUESTS || !sev_fw.guest[n].state, ST_GUEST);
        g = &sev_fw.guest[n];
        REFUSE(!(c->guest & 1 << g->state), ST_GUEST_STATE);
        REFUSE((c->guest & ACTIVE) && !g->asid, ST_INACTIVE);
    }
    return c->run(cmd, g, b);
}

bool sev_host_io(uint64_t addr, void *buf, uint64_t len, bool write)
{
    return address_space_rw(sev_firmware_view, addr, MEMTXATTRS_UNSPECIFIED, buf, len,
                            write) == MEMTX_OK;
}

bool sev_guest_io(SevGuest *g, uint64_t addr, uint8_t *buf, uint32_t len, bool write)
{
    bool ok = write || sev_host_io(addr, buf, len, false);

    if (sev_tcg_opaque || sev_tcg_vmsa_sealed(g->key, addr & ~(PAGE - 1ull), NULL)) {
        sev_tcg_crypt(g->key, addr, buf, len);
    }
    return ok && (!write || sev_host_io(addr, buf, len, true));
}

int sev_input(const uint8_t *p, void *buf, uint32_t size)
{
    return ldl_le_p(p + 8) != size ? ST_LEN :
           sev_host_io(sev_paddr(p), buf, size, false) ? ST_OK : ST_ADDRESS;
}

int sev_output(uint8_t *p, int len, void *buf, uint32_t size)
{
    bool fits = ldl_le_p(p + len) >= size;

    stl_le_p(p + len, size);
    return !fits ? ST_LEN : snp_output(sev_paddr(p), buf, size);
}
