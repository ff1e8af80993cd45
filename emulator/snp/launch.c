/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: the launch of a guest, and its measurement.
 */
#include "qemu/osdep.h"
#include "firmware.h"

/* Types of pages that a guest is launched with */
enum { TYPE_NORMAL = 1, TYPE_VMSA, TYPE_ZERO, TYPE_UNMEASURED, TYPE_SECRETS, TYPE_CPUID };
enum { START_MA = 1, START_IMI = 2, FINISH_ID_BLOCK = 1, FINISH_AUTHOR_KEY = 2, FINISH_NO_VCEK = 4 };
#define POLICY_KNOWN    0x1fffffull
#define GPA_OF_VMSAS    0xfffffffff000ull

/* What is hashed for each page, after the digest so far */
typedef struct QEMU_PACKED PageInfo {
    uint8_t digest[SNP_DIGEST], contents[SNP_DIGEST];
    uint16_t len;
    uint8_t type, imi, reserved, perms[3];      /* of VMPL 3, 2, 1 */
    uint64_t gpa;
} PageInfo;
QEMU_BUILD_BUG_ON(sizeof(PageInfo) != 0x70);

/* What the guest finds to talk with the firmware */
typedef struct QEMU_PACKED Secrets {
    uint32_t version, imi, fms, reserved;
    uint8_t gosvw[16], vmpck[SNP_VMPLS][SNP_KEY];
} Secrets;

void snp_sha384(const void *p, size_t len, uint8_t hash[SNP_DIGEST])
{
    g_autoptr(GChecksum) c = g_checksum_new(G_CHECKSUM_SHA384);
    gsize n = SNP_DIGEST;

    g_checksum_update(c, p, len);
    g_checksum_get_digest(c, hash, &n);
}

int snp_launch_start(int cmd, SnpGuest *g, uint8_t *b)
{
    uint64_t policy = ldq_le_p(b + 8);
    uint32_t flags = ldl_le_p(b + 24);

    REFUSE(!(policy & SNP_POLICY_ONE) || (policy & ~POLICY_KNOWN) ||
           (policy & 0xffff) > (API_MAJOR << 8 | API_MINOR), ST_POLICY);
    REFUSE(flags & ~(START_MA | START_IMI), ST_PARAM);
    /* Neither migration agents nor Secure TSC are emulated */
    REFUSE(flags || ldl_le_p(b + 28), ST_UNSUPPORTED);
    g->policy = policy;
    memcpy(g->gosvw, b + 32, sizeof(g->gosvw));
    g->state = SG_LAUNCH;
    return ST_OK;
}

static void measure(SnpGuest *g, int type, const uint8_t *page, uint64_t gpa, const uint8_t *perms)
{
    PageInfo info = { .len = cpu_to_le16(sizeof(info)), .type = type, .gpa = cpu_to_le64(gpa) };

    memcpy(info.digest, g->digest, SNP_DIGEST);
    if (type == TYPE_NORMAL || type == TYPE_VMSA) {
        snp_sha384(page, PAGE, info.contents);
    }
    info.perms[0] = perms[2];
    info.perms[1] = perms[1];
    info.perms[2] = perms[0];
    snp_sha384(&info, sizeof(info), g->digest);
}

static void fill_secrets(SnpGuest *g, uint8_t *page)
{
    Secrets s = { .version = cpu_to_le32(3), .fms = cpu_to_le32(cpu_env(first_cpu)->cpuid_version) };

    memcpy(s.gosvw, g->gosvw, sizeof(s.gosvw));
    memcpy(s.vmpck, g->vmpck, sizeof(s.vmpck));
    memset(page, 0, PAGE);
    memcpy(page, &s, sizeof(s));
}

int snp_launch_update(int cmd, SnpGuest *g, uint8_t *b)
{
    uint32_t word = ldl_le_p(b + 8);
    int type = extract32(word, 1, 3);
    bool large = word & 1;
    const uint8_t *perms = b + 25;      /* of VMPL 1, 2, 3 */
    uint64_t addr = sev_paddr(b + 16), len = large ? LARGE_PAGE : PAGE, e = snp_rmp_entry(addr), a, hi;
    SevGuest sev = { .key = g->key };
    uint8_t page[PAGE];

    REFUSE(!type || type > TYPE_CPUID || (word >> 4) || (large && type != TYPE_NORMAL &&
           type != TYPE_ZERO && type != TYPE_UNMEASURED), ST_PARAM);
    REFUSE((addr & (len - 1)) || !snp_rmp(addr + len - 1), ST_ADDRESS);
    REFUSE(!g->asid, ST_INACTIVE);
    REFUSE((e & RMP_ASID_MASK) != RMP_ASID(g->asid), ST_PAGE_OWNER);
    REFUSE((e & (RMP_ASSIGNED | RMP_IMMUTABLE | RMP_VALIDATED)) != (RMP_ASSIGNED | RMP_IMMUTABLE),
           ST_PAGE_STATE);
    REFUSE(large != !!(e & RMP_2M), ST_PAGE_SIZE);
    hi = RMP_VMPL(0, VMPL_ALL) | RMP_VMPL(1, perms[0]) | RMP_VMPL(2, perms[1]) | RMP_VMPL(3, perms[2]);
    for (a = addr; a < addr + len; a += PAGE) {
        REFUSE(snp_input(a, page, PAGE), ST_ADDRESS);
        switch (type) {
        case TYPE_ZERO:
            memset(page, 0, PAGE);
            break;
        case TYPE_SECRETS:
            fill_secrets(g, page);
            break;
        case TYPE_CPUID:
            REFUSE(snp_cpuid_page(page), (sev_host_io(a, page, PAGE, true), ST_PARAM));
            break;
        }
        measure(g, type, page, type == TYPE_VMSA ? GPA_OF_VMSAS : (e & RMP_GPA_MASK) + (a - addr), perms);
        REFUSE(!sev_guest_io(&sev, a, page, PAGE, true), ST_ADDRESS);
    }
    e = (e & ~RMP_IMMUTABLE) | RMP_VALIDATED | (type == TYPE_VMSA ? RMP_VMSA : 0);
    for (a = addr; a < addr + len; a += PAGE) {
        snp_rmp_set(a, e, hi);
        e = (e & ~RMP_2M) + RMP_GPA(PAGE);
    }
    return ST_OK;
}

int snp_launch_finish(int cmd, SnpGuest *g, uint8_t *b)
{
    uint8_t flags = b[24];
    int st;

    REFUSE(flags & ~(FINISH_ID_BLOCK | FINISH_AUTHOR_KEY | FINISH_NO_VCEK), ST_PARAM);
    if (flags & FINISH_ID_BLOCK) {
        st = snp_id_block(g, sev_paddr(b + 8), sev_paddr(b + 16), flags & FINISH_AUTHOR_KEY);
        REFUSE(st, st);
    }
    g->vcek_disabled = flags & FINISH_NO_VCEK;
    memcpy(g->host_data, b + 32, sizeof(g->host_data));
    g->state = SG_RUNNING;
    return ST_OK;
}
