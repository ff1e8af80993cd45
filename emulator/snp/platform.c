/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: the platform, from SNP_INIT_EX to SNP_SHUTDOWN_EX.
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/log.h"
#include "hw/i386/amd_iommu.h"
#include "tcg/sev/msr.h"
#include "firmware.h"

enum { CMD_INIT_EX = 0x85, INIT_RMP = 1, INIT_LIST = 2, SHUTDOWN_IOMMU = 1, SHUTDOWN_X86 = 2 };
enum { STATUS_FEATURE_INFO = 1 << 3 };

/* The buffers that the IOMMU writes to, by itself */
static void mark_iommu(void (*mark)(uint64_t base, uint64_t pages))
{
    AMDVIState *s = (AMDVIState *)object_dynamic_cast(OBJECT(x86_iommu_get_default()),
                                                      TYPE_AMD_IOMMU_DEVICE);
    uint64_t store;

    if (!s) {
        return;
    }
    if (s->evtlog) {
        mark(s->evtlog, DIV_ROUND_UP((uint64_t)s->evtlog_len * AMDVI_EVENT_LEN, PAGE));
    }
    if (s->ppr_log) {
        mark(s->ppr_log, DIV_ROUND_UP((uint64_t)s->pprlog_len * AMDVI_EVENT_LEN, PAGE));
    }
    /* Where completions are stored */
    store = ldq_le_p(&s->mmior[AMDVI_MMIO_EXCL_BASE]) & MAKE_64BIT_MASK(12, 40);
    if (store) {
        mark(store, 1);
    }
}

/* Every CPU's SYSCFG and VM_HSAVE_PA must be as SNP wants them */
static bool cpus_ready(void)
{
    CPUState *cs;

    CPU_FOREACH(cs) {
        CPUX86State *env = cpu_env(cs);

        if ((env->sev.syscfg & SYSCFG_SNP_READY) != SYSCFG_SNP_READY || env->vm_hsave) {
            qemu_log_mask(LOG_GUEST_ERROR, "SNP: CPU %d: SYSCFG %#x, HSAVE %#" PRIx64 "\n",
                          cs->cpu_index, env->sev.syscfg, env->vm_hsave);
            return false;
        }
    }
    return snp_rmp_on;
}

typedef struct QEMU_PACKED FixedRange { uint64_t base; uint32_t pages, reserved; } FixedRange;

static int fix_ranges(uint64_t list)
{
    uint32_t n, i;
    FixedRange r;

    REFUSE(!sev_host_io(list, &n, 4, false), ST_ADDRESS);
    n = le32_to_cpu(n);
    REFUSE(8 + n * sizeof(r) > PAGE, ST_PARAM);
    for (i = 0; i < n; i++) {
        REFUSE(!sev_host_io(list + 8 + i * sizeof(r), &r, sizeof(r), false), ST_ADDRESS);
        REFUSE(le64_to_cpu(r.base) & (PAGE - 1), ST_ADDRESS);
        snp_mark_fixed(le64_to_cpu(r.base), le32_to_cpu(r.pages));
    }
    return ST_OK;
}

int snp_init(int cmd, SnpGuest *g, uint8_t *b)
{
    uint32_t flags = cmd == CMD_INIT_EX ? ldl_le_p(b) : INIT_RMP;
    int st;

    /* SEV's own INIT comes after */
    REFUSE(sev_fw.state, ST_PLATFORM_STATE);
    REFUSE(flags & ~(INIT_RMP | INIT_LIST), ST_PARAM);
    REFUSE(!cpus_ready(), ST_CONFIG);
    REFUSE(!(flags & INIT_RMP) && !snp_fw.rmp_init, ST_RMP_INIT_REQUIRED);
    if (flags & INIT_RMP) {
        snp_rmp_clear();
        snp_fw.rmp_init = true;
    }
    if (flags & INIT_LIST) {
        st = fix_ranges(sev_paddr(b + 8));
        REFUSE(st, st);
    }
    snp_mark_firmware(snp_rmp_base, (snp_rmp_end + 1 - snp_rmp_base) / PAGE);
    mark_iommu(snp_mark_firmware);
    snp_fw.on = true;
    snp_fw.guests = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
    snp_fw.reported_tcb = snp_fw.reported_tcb ?: snp_current_tcb();
    return ST_OK;
}

int snp_shutdown(int cmd, SnpGuest *g, uint8_t *b)
{
    uint32_t flags = ldl_le_p(b + 4);

    REFUSE(ldl_le_p(b) < 8, ST_LEN);
    REFUSE(!snp_fw.on, ST_OK);
    REFUSE(sev_fw.guests || g_hash_table_size(snp_fw.guests), ST_PLATFORM_STATE);
    REFUSE(flags & ~SHUTDOWN_IOMMU, ST_PARAM);
    if (flags & SHUTDOWN_IOMMU) {
        mark_iommu(snp_mark_reclaim);
    }
    g_clear_pointer(&snp_fw.guests, g_hash_table_destroy);
    snp_fw.on = snp_fw.vlek_loaded = false;
    return ST_OK;
}

void snp_reset(void)
{
    g_clear_pointer(&snp_fw.guests, g_hash_table_destroy);
    memset(&snp_fw, 0, sizeof(snp_fw));
    memset(snp_asid, 0, sizeof(snp_asid));
    snp_rmp_on = false;
}

int snp_platform_status(int cmd, SnpGuest *g, uint8_t *b)
{
    uint8_t s[32] = { API_MAJOR, API_MINOR, snp_fw.on, snp_fw.rmp_init };

    stl_le_p(s + 4, API_BUILD);
    stl_le_p(s + 8, snp_fw.config | STATUS_FEATURE_INFO);
    stl_le_p(s + 12, snp_fw.on ? g_hash_table_size(snp_fw.guests) : 0);
    stq_le_p(s + 16, snp_current_tcb());
    stq_le_p(s + 24, snp_fw.reported_tcb ?: snp_current_tcb());
    return snp_output(sev_paddr(b), s, sizeof(s));
}

/* ASIDs are free again, whoever had them */
int snp_df_flush(int cmd, SnpGuest *g, uint8_t *b)
{
    return sev_df_flush(cmd, NULL, b);
}

/* One leaf, of optional features: there is none */
int snp_feature_info(int cmd, SnpGuest *g, uint8_t *b)
{
    uint32_t info[4] = { 0 };

    REFUSE(ldl_le_p(b) != 16, ST_LEN);
    REFUSE(ldl_le_p(b + 4), ST_PARAM);
    return snp_output(sev_paddr(b + 8), info, sizeof(info));
}

int snp_config(int cmd, SnpGuest *g, uint8_t *b)
{
    uint64_t tcb = ldq_le_p(b);
    uint32_t masks = ldl_le_p(b + 8);

    REFUSE((masks & ~CONFIG_MASKS) || !buffer_is_zero(b + 12, 52) ||
           !snp_tcb_within(tcb, snp_current_tcb()), ST_PARAM);
    snp_fw.reported_tcb = tcb ?: snp_current_tcb();
    snp_fw.config = masks;
    return ST_OK;
}

/* There is no other firmware to go back to */
int snp_commit(int cmd, SnpGuest *g, uint8_t *b)
{
    REFUSE(ldl_le_p(b) != 4, ST_LEN);
    return ST_OK;
}
