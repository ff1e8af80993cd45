/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: attestation reports, and keys that are derived for a guest.
 */
#include "qemu/osdep.h"
#include "firmware.h"

/* Status in an answer, of what is not the envelope's */
enum { ANSWER_PARAM = 0x16, ANSWER_KEY = 0x27 };

typedef struct QEMU_PACKED ReportReq {
    uint8_t data[64];
    uint32_t vmpl, key;
    uint8_t reserved[24];
} ReportReq;
enum { KEY_ANY, KEY_VCEK, KEY_VLEK };

typedef struct QEMU_PACKED Version { uint8_t build, minor, major, reserved; } Version;

typedef struct QEMU_PACKED Report {
    uint32_t version, guest_svn;
    uint64_t policy;
    uint8_t family_id[16], image_id[16];
    uint32_t vmpl, algo;
    uint64_t current_tcb, platform_info;
    uint32_t flags, reserved1;
    uint8_t data[64], digest[SNP_DIGEST], host_data[32];
    uint8_t id_key_digest[SNP_DIGEST], author_key_digest[SNP_DIGEST];
    uint8_t report_id[32], report_id_ma[32];
    uint64_t reported_tcb;
    uint8_t family, model, stepping, reserved2[21];
    uint8_t chip_id[64];
    uint64_t committed_tcb;
    Version current, committed;
    uint64_t launch_tcb;
    uint8_t reserved3[168];
    uint8_t rs[2][EC_BYTES], zero[368];
} Report;
QEMU_BUILD_BUG_ON(sizeof(Report) != SNP_REPORT);
QEMU_BUILD_BUG_ON(offsetof(Report, chip_id) != 0x1a0);
QEMU_BUILD_BUG_ON(offsetof(Report, rs) != 0x2a0);
enum { REPORT_VERSION = 3, ALGO_ECDSA_P384_SHA384 = 1 };
enum { FLAG_AUTHOR_KEY = 1, FLAG_MASK_CHIP_KEY = 2, FLAG_VLEK = 1 << 2, FLAG_NO_KEY = 7 << 2 };

static const Version version = { API_BUILD, API_MINOR, API_MAJOR };

static void fill(SnpGuest *g, const ReportReq *req, bool vlek, Report *r)
{
    uint32_t fms = cpu_env(first_cpu)->cpuid_version;
    uint8_t key[EC_BYTES];

    *r = (Report) {
        .version = cpu_to_le32(REPORT_VERSION),
        .guest_svn = cpu_to_le32(g->guest_svn),
        .policy = cpu_to_le64(g->policy),
        .vmpl = req->vmpl,
        .algo = cpu_to_le32(ALGO_ECDSA_P384_SHA384),
        .current_tcb = cpu_to_le64(snp_current_tcb()),
        .reported_tcb = cpu_to_le64(snp_fw.reported_tcb),
        .committed_tcb = cpu_to_le64(snp_current_tcb()),
        .launch_tcb = cpu_to_le64(g->launch_tcb),
        .family = extract32(fms, 8, 4) + extract32(fms, 20, 8),
        .model = extract32(fms, 4, 4) | extract32(fms, 16, 4) << 4,
        .stepping = extract32(fms, 0, 4),
        .current = version,
        .committed = version,
    };
    memcpy(r->data, req->data, sizeof(r->data));
    memcpy(r->family_id, g->family_id, sizeof(r->family_id));
    memcpy(r->image_id, g->image_id, sizeof(r->image_id));
    memcpy(r->digest, g->digest, SNP_DIGEST);
    memcpy(r->host_data, g->host_data, sizeof(r->host_data));
    memcpy(r->id_key_digest, g->id_key_digest, SNP_DIGEST);
    memcpy(r->author_key_digest, g->author_key_digest, SNP_DIGEST);
    memcpy(r->report_id, g->report_id, sizeof(r->report_id));
    /* No migration agent */
    memset(r->report_id_ma, 0xff, sizeof(r->report_id_ma));
    if (!vlek && !(snp_fw.config & CONFIG_MASK_CHIP_ID)) {
        snp_chip_id(r->chip_id);
    }
    r->flags = cpu_to_le32(g->author_key_en * FLAG_AUTHOR_KEY | vlek * FLAG_VLEK);
    if (!vlek && (snp_fw.config & CONFIG_MASK_CHIP_KEY)) {
        r->flags |= cpu_to_le32(FLAG_MASK_CHIP_KEY | FLAG_NO_KEY);
        return;
    }
    if (!vlek) {
        snp_vcek(snp_fw.reported_tcb, key);
    }
    snp_sign(vlek ? snp_fw.vlek : key, r, offsetof(Report, rs), r->rs);
}

uint16_t snp_report_answer(SnpGuest *g, int vmpck, const uint8_t *request, uint8_t *answer)
{
    ReportReq req;
    uint32_t vmpl, key;
    bool vlek;

    memcpy(&req, request, sizeof(req));
    vmpl = le32_to_cpu(req.vmpl);
    key = le32_to_cpu(req.key);
    vlek = key == KEY_VLEK || (key == KEY_ANY && snp_fw.vlek_loaded);
    if (vmpl < vmpck || vmpl >= SNP_VMPLS || key > KEY_VLEK) {
        stl_le_p(answer, ANSWER_PARAM);
    } else if (vlek ? !snp_fw.vlek_loaded : g->vcek_disabled) {
        stl_le_p(answer, ANSWER_KEY);
    } else {
        stl_le_p(answer + 4, SNP_REPORT);
        fill(g, &req, vlek, (Report *)(answer + 32));
    }
    return 32 + SNP_REPORT;
}

typedef struct QEMU_PACKED KeyReq {
    uint32_t root, reserved;
    uint64_t fields;
    uint32_t vmpl, guest_svn;
    uint64_t tcb;
} KeyReq;
enum { ROOT_VCEK, ROOT_VMRK };
enum { FIELD_POLICY = 1, FIELD_IMAGE = 2, FIELD_FAMILY = 4, FIELD_DIGEST = 8, FIELD_SVN = 16,
       FIELD_TCB = 32, FIELDS = 63 };

uint16_t snp_key_answer(SnpGuest *g, int vmpck, const uint8_t *request, uint8_t *answer)
{
    KeyReq req;
    uint64_t fields, head[2];

    memcpy(&req, request, sizeof(req));
    fields = le64_to_cpu(req.fields);
    if (le32_to_cpu(req.vmpl) < vmpck || le32_to_cpu(req.vmpl) >= SNP_VMPLS || (fields & ~FIELDS) ||
        le32_to_cpu(req.root) > ROOT_VMRK || le32_to_cpu(req.guest_svn) > g->guest_svn ||
        !snp_tcb_within(le64_to_cpu(req.tcb), snp_current_tcb())) {
        stl_le_p(answer, ANSWER_PARAM);
    } else if (le32_to_cpu(req.root) == ROOT_VMRK) {
        stl_le_p(answer, ANSWER_KEY);   /* only a migration agent gives one */
    } else {
        head[0] = req.fields;
        head[1] = req.vmpl;
        snp_derive("guest key", (SevBytes[]) {
            { head, sizeof(head) },
            { &g->policy, fields & FIELD_POLICY ? sizeof(g->policy) : 0 },
            { g->image_id, fields & FIELD_IMAGE ? sizeof(g->image_id) : 0 },
            { g->family_id, fields & FIELD_FAMILY ? sizeof(g->family_id) : 0 },
            { g->digest, fields & FIELD_DIGEST ? SNP_DIGEST : 0 },
            { &req.guest_svn, fields & FIELD_SVN ? sizeof(req.guest_svn) : 0 },
            { &req.tcb, fields & FIELD_TCB ? sizeof(req.tcb) : 0 },
            { NULL },
        }, answer + 32, SNP_KEY);
    }
    return 32 + SNP_KEY;
}
