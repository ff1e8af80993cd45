/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SEV firmware: platform and guest state, and the commands.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/bswap.h"
#include "qemu/guest-random.h"
#include "crypto/aes.h"
#include "cpu.h"
#include "compat.h"
#include "exec/address-spaces.h"
#include "psp.h"

#define API_MAJOR       1
#define API_MINOR       55
#define API_BUILD       21

enum {
    CMD_INIT = 0x01, CMD_SHUTDOWN, CMD_FACTORY_RESET, CMD_PLATFORM_STATUS,
    CMD_PEK_GEN, CMD_PEK_CSR, CMD_PEK_CERT_IMPORT, CMD_PDH_CERT_EXPORT,
    CMD_PDH_GEN, CMD_DF_FLUSH, CMD_DOWNLOAD_FIRMWARE, CMD_GET_ID, CMD_INIT_EX,
    CMD_DECOMMISSION = 0x20, CMD_ACTIVATE, CMD_DEACTIVATE, CMD_GUEST_STATUS,
    CMD_LAUNCH_START = 0x30, CMD_LAUNCH_UPDATE_DATA, CMD_LAUNCH_UPDATE_VMSA,
    CMD_LAUNCH_MEASURE, CMD_LAUNCH_UPDATE_SECRET, CMD_LAUNCH_FINISH,
    CMD_DBG_DECRYPT = 0x60, CMD_DBG_ENCRYPT,
    CMD_END,
};

/* What ccp hands over, in bytes */
static const uint8_t command_length[CMD_END] = {
    [CMD_INIT] = 20, [CMD_PLATFORM_STATUS] = 12, [CMD_PEK_CSR] = 12,
    [CMD_PEK_CERT_IMPORT] = 28, [CMD_PDH_CERT_EXPORT] = 28,
    [CMD_DOWNLOAD_FIRMWARE] = 12, [CMD_GET_ID] = 12, [CMD_INIT_EX] = 36,
    [CMD_DECOMMISSION] = 4, [CMD_ACTIVATE] = 8, [CMD_DEACTIVATE] = 4,
    [CMD_GUEST_STATUS] = 13, [CMD_LAUNCH_START] = 36,
    [CMD_LAUNCH_UPDATE_DATA] = 20, [CMD_LAUNCH_UPDATE_VMSA] = 20,
    [CMD_LAUNCH_MEASURE] = 20, [CMD_LAUNCH_UPDATE_SECRET] = 52,
    [CMD_LAUNCH_FINISH] = 4, [CMD_DBG_DECRYPT] = 28, [CMD_DBG_ENCRYPT] = 28,
};

enum {
    ST_OK = 0, ST_PLATFORM_STATE = 1, ST_GUEST_STATE = 2, ST_LEN = 4,
    ST_POLICY = 7, ST_INACTIVE = 8, ST_ADDRESS = SEV_ST_INVALID_ADDRESS,
    ST_BAD_MEASUREMENT = 0xb, ST_ASID_OWNED = 0xc, ST_ASID = 0xd,
    ST_DFFLUSH = 0xf, ST_GUEST = 0x10, ST_COMMAND = 0x11, ST_ACTIVE = 0x12,
    ST_UNSUPPORTED = 0x15, ST_PARAM = 0x16, ST_RESOURCE = 0x17,
};

enum { P_UNINIT, P_INIT, P_WORKING };
enum { G_UNINIT, G_LUPDATE, G_LSECRET, G_RUNNING };

#define POLICY_NODBG    1
#define POLICY_NOKS     2
#define POLICY_ES       4
#define INIT_ES         1
#define STATUS_ES       0x100
#define TMR_ALIGN       (1 * MiB)
#define NV_SIZE         (32 * KiB)
#define MAX_GUESTS      64
#define PAGE            4096

typedef struct SevGuest {
    uint8_t state;
    uint32_t policy;
    uint32_t asid;                      /* 0: not active */
    uint64_t key;
    GChecksum *digest;
    uint8_t measure[32];
} SevGuest;

static struct {
    uint8_t state;
    bool es;
    SevGuest guest[MAX_GUESTS];         /* handle - 1 */
    uint32_t asid_owner[SEV_ASIDS + 1]; /* handle or 0 */
    bool asid_stale[SEV_ASIDS + 1];     /* needs DF_FLUSH */
} fw;

/*
 * The transport keys of a guest that was launched without a session: there
 * was no key exchange, so both are known to everybody.
 */
static const uint8_t tik[16], tek[16];

int sev_firmware_length(int cmd)
{
    return cmd < CMD_END ? command_length[cmd] : 0;
}

static uint64_t paddr(const uint8_t *p)
{
    return ldq_le_p(p) & ~SEV_CBIT_MASK;
}

/* As the host sees it */
static bool host_read(uint64_t addr, void *buf, uint64_t len)
{
    sev_tcg_flush_range(addr, len);
    return address_space_read(&address_space_memory, addr,
                              MEMTXATTRS_UNSPECIFIED, buf, len) == MEMTX_OK;
}

static bool host_write(uint64_t addr, const void *buf, uint64_t len)
{
    sev_tcg_flush_range(addr, len);
    return address_space_write(&address_space_memory, addr,
                               MEMTXATTRS_UNSPECIFIED, buf, len) == MEMTX_OK;
}

static bool encrypted(SevGuest *g, uint64_t addr)
{
    return sev_tcg_opaque || sev_tcg_is_vmsa(g->key, addr & ~(PAGE - 1ull));
}

/* As the guest sees it through its C-bit; never over the end of a page */
static bool guest_read(SevGuest *g, uint64_t addr, uint8_t *buf, uint32_t len)
{
    if (!host_read(addr, buf, len)) {
        return false;
    }
    if (encrypted(g, addr)) {
        sev_tcg_crypt(g->key, addr, buf, len);
    }
    return true;
}

static bool guest_write(SevGuest *g, uint64_t addr, uint8_t *buf, uint32_t len)
{
    if (encrypted(g, addr)) {
        sev_tcg_crypt(g->key, addr, buf, len);
    }
    return host_write(addr, buf, len);
}

static SevGuest *guest(uint32_t handle)
{
    if (handle == 0 || handle > MAX_GUESTS ||
        fw.guest[handle - 1].state == G_UNINIT) {
        return NULL;
    }
    return &fw.guest[handle - 1];
}

static void forget(SevGuest *g)
{
    int i, users = 0;

    for (i = 0; i < MAX_GUESTS; i++) {
        users += g->key && fw.guest[i].key == g->key;
    }
    if (users == 1) {
        sev_tcg_flush_key(g->key);
        sev_tcg_forget_vmsas(g->key);
    }
    g_clear_pointer(&g->digest, g_checksum_free);
    memset(g, 0, sizeof(*g));
}

static int guest_count(void)
{
    int i, n = 0;

    for (i = 0; i < MAX_GUESTS; i++) {
        n += fw.guest[i].state != G_UNINIT;
    }
    return n;
}

void sev_firmware_reset(void)
{
    int i;

    for (i = 0; i < MAX_GUESTS; i++) {
        forget(&fw.guest[i]);
    }
    memset(sev_tcg_asid_key, 0, sizeof(sev_tcg_asid_key));
    memset(&fw, 0, sizeof(fw));
}

static int init(uint32_t flags, uint64_t tmr, uint32_t tmr_len)
{
    if (fw.state != P_UNINIT) {
        return ST_PLATFORM_STATE;
    }
    if (flags & ~INIT_ES) {
        return ST_PARAM;
    }
    if ((flags & INIT_ES) && (!tmr || (tmr & (TMR_ALIGN - 1)))) {
        return ST_ADDRESS;
    }
    if ((flags & INIT_ES) && tmr_len < TMR_ALIGN) {
        return ST_LEN;
    }
    fw.es = flags & INIT_ES;
    fw.state = P_INIT;
    return ST_OK;
}

static int init_ex(const uint8_t *b)
{
    uint64_t nv = paddr(b + 24);
    int st;

    if (ldl_le_p(b) < command_length[CMD_INIT_EX]) {
        return ST_LEN;
    }
    if (nv && ldl_le_p(b + 32) < NV_SIZE) {
        return ST_LEN;
    }
    st = init(ldl_le_p(b + 4), paddr(b + 8), ldl_le_p(b + 16));
    if (st == ST_OK && nv) {
        g_autofree uint8_t *buf = g_malloc(NV_SIZE);
        int i;

        if (!host_read(nv, buf, NV_SIZE)) {
            return ST_ADDRESS;
        }
        for (i = 0; i < NV_SIZE && buf[i] == 0xff; i++) {
        }
        if (i == NV_SIZE) {             /* new: give the platform an identity */
            memset(buf, 0, NV_SIZE);
            stl_le_p(buf, 0x4e564553);
            qemu_guest_getrandom_nofail(buf + 4, 60);
            return host_write(nv, buf, NV_SIZE) ? ST_OK : ST_ADDRESS;
        }
    }
    return st;
}

static int launch_start(uint8_t *b)
{
    uint32_t handle = ldl_le_p(b), policy = ldl_le_p(b + 4);
    SevGuest *shared = guest(handle);
    int i;

    if (handle && !shared) {
        return ST_GUEST;
    }
    if (shared && ((shared->policy | policy) & POLICY_NOKS)) {
        return ST_POLICY;
    }
    if ((policy & POLICY_ES) && !fw.es) {
        return ST_POLICY;
    }
    if (paddr(b + 8) || paddr(b + 24)) {        /* DH certificate, session */
        return ST_UNSUPPORTED;
    }
    for (i = 0; i < MAX_GUESTS; i++) {
        SevGuest *g = &fw.guest[i];

        if (g->state == G_UNINIT) {
            g->state = G_LUPDATE;
            g->policy = policy;
            g->digest = g_checksum_new(G_CHECKSUM_SHA256);
            qemu_guest_getrandom_nofail(&g->key, sizeof(g->key));
            g->key = shared ? shared->key : g->key | 1;
            fw.state = P_WORKING;
            stl_le_p(b, i + 1);
            return ST_OK;
        }
    }
    return ST_RESOURCE;
}

static int activate(SevGuest *g, uint32_t handle, uint32_t asid)
{
    if (g->asid) {
        return ST_ACTIVE;
    }
    if (asid == 0 || asid > SEV_ASIDS ||
        !(g->policy & POLICY_ES) != (asid >= SEV_MIN_SEV_ASID)) {
        return ST_ASID;
    }
    if (fw.asid_owner[asid]) {
        return ST_ASID_OWNED;
    }
    if (fw.asid_stale[asid]) {
        return ST_DFFLUSH;
    }
    fw.asid_owner[asid] = handle;
    g->asid = asid;
    sev_tcg_asid_key[asid] = g->key;
    return ST_OK;
}

static void deactivate(SevGuest *g)
{
    if (g->asid) {
        fw.asid_owner[g->asid] = 0;
        fw.asid_stale[g->asid] = true;
        sev_tcg_asid_key[g->asid] = 0;
        g->asid = 0;
    }
}

static int launch_update(SevGuest *g, int cmd, uint64_t addr, uint32_t len)
{
    bool vmsa = cmd == CMD_LAUNCH_UPDATE_VMSA;
    uint8_t buf[PAGE];

    if (vmsa && !(g->policy & POLICY_ES)) {
        return ST_POLICY;
    }
    if (g->state != G_LUPDATE) {
        return ST_GUEST_STATE;
    }
    if (!g->asid) {
        return ST_INACTIVE;
    }
    if (vmsa ? len != PAGE : (len & 15) || !len) {
        return ST_LEN;
    }
    if (addr & (vmsa ? PAGE - 1 : 15)) {
        return ST_ADDRESS;
    }
    while (len) {
        uint32_t n = MIN(len, PAGE - (addr & (PAGE - 1)));

        if (!host_read(addr, buf, n)) {
            return ST_ADDRESS;
        }
        g_checksum_update(g->digest, buf, n);
        if (vmsa) {                     /* encrypted whatever the switch says */
            sev_tcg_crypt(g->key, addr, buf, n);
            sev_tcg_vmsa_seal(g->key, addr, buf);
        }
        if (vmsa ? !host_write(addr, buf, n) : !guest_write(g, addr, buf, n)) {
            return ST_ADDRESS;
        }
        addr += n;
        len -= n;
    }
    return ST_OK;
}

static int launch_measure(SevGuest *g, uint8_t *b)
{
    g_autoptr(GHmac) mac = g_hmac_new(G_CHECKSUM_SHA256, tik, sizeof(tik));
    uint8_t head[8] = { 4, API_MAJOR, API_MINOR, API_BUILD };
    uint32_t len = ldl_le_p(b + 16);
    uint8_t out[48], digest[32];
    gsize n = sizeof(digest);

    if (g->state != G_LUPDATE) {
        return ST_GUEST_STATE;
    }
    stl_le_p(b + 16, sizeof(out));
    if (len < sizeof(out)) {
        return ST_LEN;
    }
    g_checksum_get_digest(g->digest, digest, &n);
    qemu_guest_getrandom_nofail(out + 32, 16);
    stl_le_p(head + 4, g->policy);
    g_hmac_update(mac, head, sizeof(head));
    g_hmac_update(mac, digest, sizeof(digest));
    g_hmac_update(mac, out + 32, 16);
    n = 32;
    g_hmac_get_digest(mac, out, &n);
    memcpy(g->measure, out, 32);
    g->state = G_LSECRET;
    return host_write(paddr(b + 8), out, sizeof(out)) ? ST_OK : ST_ADDRESS;
}

/* Check the packet's MAC and put what it carries into the guest's memory */
static int launch_secret(SevGuest *g, const uint8_t *b)
{
    uint64_t addr = paddr(b + 24);
    uint32_t len = ldl_le_p(b + 32), i, n;
    uint8_t hdr[52], mac[32], head[33], stream[16], one = 1;
    g_autofree uint8_t *data = NULL;
    gsize mac_len = sizeof(mac);
    g_autoptr(GHmac) h = NULL;
    AES_KEY aes;

    if (g->state != G_LSECRET) {
        return ST_GUEST_STATE;
    }
    if (!g->asid) {
        return ST_INACTIVE;
    }
    if (ldl_le_p(b + 16) != sizeof(hdr) || len != ldl_le_p(b + 48) ||
        !len || (len & 15) || len > 16 * KiB) {
        return ST_LEN;
    }
    data = g_malloc(len);
    if ((addr & 15) || !host_read(paddr(b + 8), hdr, sizeof(hdr)) ||
        !host_read(paddr(b + 40), data, len)) {
        return ST_ADDRESS;
    }
    if (ldl_le_p(hdr)) {                /* flags: compressed */
        return ST_UNSUPPORTED;
    }

    head[0] = one;
    memcpy(head + 1, hdr, 20);          /* flags and IV */
    stl_le_p(head + 21, len);
    stl_le_p(head + 25, len);
    h = g_hmac_new(G_CHECKSUM_SHA256, tik, sizeof(tik));
    g_hmac_update(h, head, 29);
    g_hmac_update(h, data, len);
    g_hmac_update(h, g->measure, sizeof(g->measure));
    g_hmac_get_digest(h, mac, &mac_len);
    if (memcmp(mac, hdr + 20, sizeof(mac))) {
        return ST_BAD_MEASUREMENT;
    }

    AES_set_encrypt_key(tek, 128, &aes);
    for (i = 0; i < len; i++) {
        if (!(i & 15)) {
            int j = 15;

            AES_encrypt(hdr + 4, stream, &aes);
            while (j >= 0 && !++hdr[4 + j]) {
                j--;
            }
        }
        data[i] ^= stream[i & 15];
    }
    for (i = 0; i < len; i += n) {
        n = MIN(len - i, PAGE - ((addr + i) & (PAGE - 1)));
        if (!guest_write(g, addr + i, data + i, n)) {
            return ST_ADDRESS;
        }
    }
    return ST_OK;
}

static int debug(SevGuest *g, int cmd, uint64_t src, uint64_t dst,
                 uint32_t len)
{
    uint8_t buf[PAGE];

    if (g->policy & POLICY_NODBG) {
        return ST_POLICY;
    }
    if (!g->asid) {
        return ST_INACTIVE;
    }
    if ((src | dst) & 15) {
        return ST_ADDRESS;
    }
    if (!len || (len & 15)) {
        return ST_LEN;
    }
    while (len) {
        uint32_t n = MIN(len, PAGE - MAX(src & (PAGE - 1), dst & (PAGE - 1)));

        if (cmd == CMD_DBG_DECRYPT ?
            !guest_read(g, src, buf, n) || !host_write(dst, buf, n) :
            !host_read(src, buf, n) || !guest_write(g, dst, buf, n)) {
            return ST_ADDRESS;
        }
        src += n;
        dst += n;
        len -= n;
    }
    return ST_OK;
}

static int guest_command(int cmd, uint8_t *b)
{
    uint32_t handle = ldl_le_p(b);
    SevGuest *g = guest(handle);

    if (fw.state == P_UNINIT) {
        return ST_PLATFORM_STATE;
    }
    if (cmd == CMD_LAUNCH_START) {
        return launch_start(b);
    }
    if (!g) {
        return ST_GUEST;
    }
    switch (cmd) {
    case CMD_DECOMMISSION:
        if (g->asid) {
            return ST_ACTIVE;
        }
        forget(g);
        if (!guest_count()) {
            fw.state = P_INIT;
        }
        return ST_OK;
    case CMD_ACTIVATE:
        return activate(g, handle, ldl_le_p(b + 4));
    case CMD_DEACTIVATE:
        deactivate(g);
        return ST_OK;
    case CMD_GUEST_STATUS:
        stl_le_p(b + 4, g->policy);
        stl_le_p(b + 8, g->asid);
        b[12] = g->state;
        return ST_OK;
    case CMD_LAUNCH_UPDATE_VMSA:
    case CMD_LAUNCH_UPDATE_DATA:
        return launch_update(g, cmd, paddr(b + 8), ldl_le_p(b + 16));
    case CMD_LAUNCH_MEASURE:
        return launch_measure(g, b);
    case CMD_LAUNCH_UPDATE_SECRET:
        return launch_secret(g, b);
    case CMD_LAUNCH_FINISH:
        if (g->state != G_LUPDATE && g->state != G_LSECRET) {
            return ST_GUEST_STATE;
        }
        g->state = G_RUNNING;
        return ST_OK;
    case CMD_DBG_DECRYPT:
    case CMD_DBG_ENCRYPT:
        return debug(g, cmd, paddr(b + 8), paddr(b + 16), ldl_le_p(b + 24));
    }
    return ST_COMMAND;
}

int sev_firmware_command(int cmd, uint8_t *b)
{
    switch (cmd) {
    case CMD_INIT:
        return init(ldl_le_p(b), paddr(b + 8), ldl_le_p(b + 16));
    case CMD_INIT_EX:
        return init_ex(b);
    case CMD_SHUTDOWN:
        if (fw.state == P_WORKING) {
            return ST_PLATFORM_STATE;
        }
        sev_firmware_reset();
        return ST_OK;
    case CMD_PLATFORM_STATUS:
        memset(b, 0, 12);
        b[0] = API_MAJOR;
        b[1] = API_MINOR;
        b[2] = fw.state;
        stl_le_p(b + 3, fw.es ? STATUS_ES : 0);
        b[7] = API_BUILD;
        stl_le_p(b + 8, guest_count());
        return ST_OK;
    case CMD_DF_FLUSH:
        if (fw.state == P_UNINIT) {
            return ST_PLATFORM_STATE;
        }
        memset(fw.asid_stale, 0, sizeof(fw.asid_stale));
        return ST_OK;
    case CMD_FACTORY_RESET:
        return fw.state == P_UNINIT ? ST_OK : ST_PLATFORM_STATE;
    case CMD_PEK_GEN:
        return fw.state == P_INIT ? ST_OK : ST_PLATFORM_STATE;
    case CMD_PDH_GEN:
        return fw.state == P_UNINIT ? ST_PLATFORM_STATE : ST_OK;
    case CMD_GET_ID: {
        static uint8_t id[64];
        bool fits = ldl_le_p(b + 8) >= sizeof(id);

        if (!id[0]) {
            qemu_guest_getrandom_nofail(id, sizeof(id));
            id[0] |= 1;
        }
        stl_le_p(b + 8, sizeof(id));
        return !fits ? ST_LEN :
               host_write(paddr(b), id, sizeof(id)) ? ST_OK : ST_ADDRESS;
    }
    case CMD_PEK_CSR:
    case CMD_PEK_CERT_IMPORT:
    case CMD_PDH_CERT_EXPORT:
    case CMD_DOWNLOAD_FIRMWARE:
        return ST_UNSUPPORTED;
    }
    return guest_command(cmd, b);
}
