/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages between an SEV-SNP guest and the firmware. The guest tells the test
 * its keys, and carries the messages that the test has sealed with them.
 */
#include <err.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "owner.h"
#include "snp.h"

#define GUEST_REQUEST   0x80000011
#define EXTENDED        0x80000012
enum { KEY_REQ = 3, REPORT_REQ = 5 };
/* Errors of the firmware */
enum { BAD_MEASUREMENT = 0xb, PARAM = 0x16, AEAD_OFLOW = 0x1d };

struct message {
    uint8_t tag[32];
    uint64_t seq, reserved1;
    uint8_t algo, header_version;
    uint16_t header_size;
    uint8_t type, version;
    uint16_t size;
    uint32_t reserved2;
    uint8_t vmpck, reserved3[35];
    uint8_t payload[4000];
};
_Static_assert(sizeof(struct message) == 4096, "message");

struct report {
    uint32_t version, svn;
    uint64_t policy;
    uint8_t family[16], image[16];
    uint32_t vmpl, algo;
    uint64_t current_tcb, platform_info;
    uint32_t flags, reserved1;
    uint8_t data[64], digest[48], host_data[32], id_key_digest[48], author_key_digest[48];
    uint8_t report_id[32], report_id_ma[32];
    uint64_t reported_tcb;
    uint8_t cpuid[3], reserved2[21];
    uint8_t chip_id[64];
    uint8_t rest[0x4a0 - 0x1e0];
};
_Static_assert(sizeof(struct report) == 0x4a0, "attestation report");

static GUEST void g_carrier(void)
{
    volatile uint64_t *to = (void *)WORDS, *keys = (void *)(SECRET_PAGE + 0x20);
    int i;

    REGISTER_GHCB();
    for (i = 0; i < 16; i++) {
        to[i] = keys[i];
    }
    pause_guest();
    while (shared->value[0]) {
        shared->value[1] = ghcb_exit(shared->value[0], REQUEST, RESPONSE, shared->value[2],
                                     shared->value[3]);
        pause_guest();
    }
}

static struct vm *vm;
static uint8_t host_data[32];
static uint64_t seq[4];
/* What the guest's memory starts as, if not as this program and its variables are by now */
static uint8_t *model;

static void carrier(void)
{
    struct kvm_sev_snp_launch_finish f = { 0 };

    vm = vm_new(SNP, g_carrier);
    if (model) {
        memcpy(vm->mem, model, SHARED);
    }
    memset(host_data, 0x4d, sizeof(host_data));
    memcpy(f.host_data, host_data, sizeof(f.host_data));
    if (snp_start(vm, SNP_POLICY) || snp_image(vm) ||
        snp_update(vm, SECRET_PAGE, vm->mem + SECRET_PAGE, PAGE, KVM_SEV_SNP_PAGE_TYPE_SECRETS) ||
        vm_sev(vm, KVM_SEV_SNP_LAUNCH_FINISH, &f)) {
        err(1, "launch (firmware error %#x)", vm->error);
    }
    if (vm_run(vm) != KVM_EXIT_HLT || vm_shared(vm)->failed) {
        errx(1, "the guest that carries messages does not");
    }
    memset(seq, 0, sizeof(seq));
}

static bool crypt(struct message *m, bool seal)
{
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    const uint8_t *key = vm->mem + WORDS + 32 * m->vmpck;
    uint8_t iv[12] = { 0 };
    int n, ok;

    memcpy(iv, &m->seq, 8);
    ok = EVP_CipherInit_ex(c, EVP_aes_256_gcm(), NULL, key, iv, seal) &&
         EVP_CipherUpdate(c, NULL, &n, &m->algo, 48) &&
         EVP_CipherUpdate(c, m->payload, &n, m->payload, m->size);
    if (!seal) {
        ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, 16, m->tag);
    }
    ok = ok && EVP_CipherFinal_ex(c, m->payload + n, &n);
    if (seal) {
        ok = ok && EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, 16, m->tag);
    }
    EVP_CIPHER_CTX_free(c);
    return ok;
}

static struct message prepared(int type, int vmpck, const void *payload, uint16_t size)
{
    struct message m = {
        .seq = seq[vmpck] + 1, .algo = 1, .header_version = 1, .header_size = 96, .type = type,
        .version = 1, .size = size, .vmpck = vmpck,
    };

    memcpy(m.payload, payload, size);
    return m;
}

/* Let the guest carry @m; gives the firmware's error, or KVM's in the upper half */
static uint64_t carry(const struct message *m, uint64_t code, uint64_t rax, uint64_t rbx)
{
    volatile struct mailbox *s = vm_shared(vm);

    memcpy(vm->mem + REQUEST, m, sizeof(*m));
    memset(vm->mem + RESPONSE, 0, PAGE);
    s->value[0] = code;
    s->value[2] = rax;
    s->value[3] = rbx;
    if (vm_run(vm) != KVM_EXIT_HLT || s->failed) {
        errx(1, "the guest that carries messages ended");
    }
    return s->value[1];
}

/* Ask, and open the answer into @answer */
static bool ask(int type, int vmpck, const void *payload, uint16_t size, struct message *answer)
{
    struct message m = prepared(type, vmpck, payload, size);
    uint64_t error;

    if (!crypt(&m, true)) {
        return false;
    }
    error = carry(&m, GUEST_REQUEST, 0, 0);
    memcpy(answer, vm->mem + RESPONSE, sizeof(*answer));
    if (error || answer->seq != m.seq + 1 || answer->type != type + 1 || !crypt(answer, false)) {
        printf("# error %#llx, answer %llu of type %d\n", (unsigned long long)error,
               (unsigned long long)answer->seq, answer->type);
        return false;
    }
    seq[vmpck] += 2;
    return true;
}

struct report_req {
    uint8_t data[64];
    uint32_t vmpl, key;
    uint8_t reserved[24];
};

static const struct report *report_of(const struct message *m)
{
    return (const struct report *)(m->payload + 32);
}

/* Who started this host lets the sev crate verify the report */
static bool tell(const struct report *r)
{
    FILE *f = fopen("/dev/ttyS2", "w");
    size_t i;

    if (!f) {
        return false;
    }
    fprintf(f, "report ");
    for (i = 0; i < sizeof(*r); i++) {
        fprintf(f, "%02x", ((const uint8_t *)r)[i]);
    }
    fprintf(f, "\n");
    return !fclose(f);
}

static bool report(void)
{
    struct report_req req = { .vmpl = 1 };
    const struct report *r;
    struct sev_user_data_snp_status s;
    struct message m;
    uint32_t error;

    carrier();
    RAND_bytes(req.data, sizeof(req.data));
    if (!ask(REPORT_REQ, 0, &req, sizeof(req), &m) || *(uint32_t *)m.payload ||
        *(uint32_t *)(m.payload + 4) != sizeof(*r) || platform(SNP_PLATFORM_STATUS, &s, &error)) {
        return false;
    }
    r = report_of(&m);
    if (r->policy != SNP_POLICY || r->vmpl != 1 || r->algo != 1 || r->current_tcb != s.current_tcb_version ||
        r->reported_tcb != s.reported_tcb_version || r->cpuid[0] != 0x19) {
        printf("# policy %#llx, VMPL %u, TCB %#llx\n", (unsigned long long)r->policy, r->vmpl,
               (unsigned long long)r->current_tcb);
        return false;
    }
    return !memcmp(r->data, req.data, 64) && !memcmp(r->host_data, host_data, 32) && tell(r);
}

/* Equal launches measure alike, others do not; reports of two guests tell which is which */
static bool measured(void)
{
    struct report_req req = { { 0 } };
    struct report r[3];
    struct message m;
    int i;

    for (i = 0; i < 3; i++) {
        carrier();
        if (!ask(REPORT_REQ, 0, &req, sizeof(req), &m)) {
            return false;
        }
        r[i] = *report_of(&m);
        if (!i) {
            model = malloc(SHARED);
            memcpy(model, vm->mem, SHARED);
        } else if (i == 1) {
            model[SECRET_PAGE - 1]++;           /* a byte that is not launched */
            model[(uintptr_t)&host_data]++;     /* one that is */
        }
    }
    return !memcmp(r[0].digest, r[1].digest, 48) && memcmp(r[0].report_id, r[1].report_id, 32) &&
           memcmp(r[0].digest, r[2].digest, 48) && !memcmp(r[0].chip_id, r[2].chip_id, 64);
}

/* A VMPL asks for itself and those below: the key says which VMPL asks */
static bool vmpls(void)
{
    struct report_req req = { .vmpl = 1 };
    struct message m;

    carrier();
    if (!ask(REPORT_REQ, 2, &req, sizeof(req), &m) || *(uint32_t *)m.payload != PARAM) {
        return false;
    }
    req.vmpl = 3;
    if (!ask(REPORT_REQ, 2, &req, sizeof(req), &m) || *(uint32_t *)m.payload || report_of(&m)->vmpl != 3) {
        return false;
    }
    req.vmpl = 4;
    return ask(REPORT_REQ, 2, &req, sizeof(req), &m) && *(uint32_t *)m.payload == PARAM;
}

struct key_req {
    uint32_t root, reserved;
    uint64_t fields;
    uint32_t vmpl, svn;
    uint64_t tcb;
};

static bool derived(void)
{
    struct key_req req = { .fields = 1 };
    uint8_t key[3][32];
    struct message m;
    int i;

    carrier();
    for (i = 0; i < 3; i++) {
        req.fields = i == 2 ? 9 : 1;
        if (!ask(KEY_REQ, 0, &req, sizeof(req), &m) || *(uint32_t *)m.payload) {
            return false;
        }
        memcpy(key[i], m.payload + 32, 32);
    }
    /* The same again for the same; for a policy and a measurement another */
    if (memcmp(key[0], key[1], 32) || !memcmp(key[0], key[2], 32)) {
        return false;
    }
    /* Another guest with the same policy has the same key, unless it is measured */
    carrier();
    req.fields = 1;
    if (!ask(KEY_REQ, 0, &req, sizeof(req), &m) || memcmp(key[0], m.payload + 32, 32)) {
        return false;
    }
    req.fields = 1 << 6;
    if (!ask(KEY_REQ, 0, &req, sizeof(req), &m) || *(uint32_t *)m.payload != PARAM) {
        return false;
    }
    req = (struct key_req) { .svn = 1 };        /* above the guest's */
    return ask(KEY_REQ, 0, &req, sizeof(req), &m) && *(uint32_t *)m.payload == PARAM;
}

static bool gives(int line, const struct message *m, uint64_t want)
{
    uint64_t error = carry(m, GUEST_REQUEST, 0, 0);

    if (error != want) {
        printf("# line %d: error %#llx instead of %#llx\n", line, (unsigned long long)error,
               (unsigned long long)want);
    }
    return error == want;
}

/* A message that was changed in one place, sealed or not after it */
#define REFUSED(want, field, value) do {                                  \
        struct message m_ = prepared(REPORT_REQ, 0, &req, sizeof(req));   \
        m_.field = (value);                                               \
        if (!crypt(&m_, true) || !gives(__LINE__, &m_, want)) {           \
            return false;                                                 \
        }                                                                 \
    } while (0)

static bool malformed(void)
{
    struct report_req req = { { 0 } };
    struct message m;

    carrier();
    REFUSED(PARAM, algo, 0);
    REFUSED(PARAM, algo, 2);
    REFUSED(PARAM, header_version, 2);
    REFUSED(PARAM, header_size, 95);
    REFUSED(PARAM, version, 0);
    REFUSED(PARAM, type, 0);
    REFUSED(PARAM, type, 0xff);
    REFUSED(PARAM, size, 95);
    REFUSED(PARAM, size, 97);
    m = prepared(REPORT_REQ, 0, &req, sizeof(req));
    m.size = 4001;
    if (!gives(__LINE__, &m, PARAM)) {
        return false;
    }
    m.size = 96;
    m.vmpck = 4;
    return gives(__LINE__, &m, PARAM) && ask(REPORT_REQ, 0, &req, sizeof(req), &m);
}

/* One bit of what is encrypted, of the header, of the tag; a key of another VMPL */
static bool altered(void)
{
    struct report_req req = { { 0 } };
    struct message m;

    carrier();
    m = prepared(REPORT_REQ, 0, &req, sizeof(req));
    crypt(&m, true);
    m.payload[5] ^= 1;
    if (!gives(__LINE__, &m, BAD_MEASUREMENT)) {
        return false;
    }
    m.payload[5] ^= 1;
    m.reserved3[34] ^= 0x80;
    if (!gives(__LINE__, &m, BAD_MEASUREMENT)) {
        return false;
    }
    m.reserved3[34] ^= 0x80;
    m.tag[15] ^= 1;
    if (!gives(__LINE__, &m, BAD_MEASUREMENT)) {
        return false;
    }
    m.tag[15] ^= 1;
    m.vmpck = 1;
    if (!gives(__LINE__, &m, BAD_MEASUREMENT)) {
        return false;
    }
    m.vmpck = 0;
    return gives(__LINE__, &m, 0);
}

/* Each number once, one after the other, for each key by itself */
static bool repeated(void)
{
    struct report_req req = { .vmpl = 3 };
    struct message m, answer;

    carrier();
    m = prepared(REPORT_REQ, 0, &req, sizeof(req));
    crypt(&m, true);
    if (!gives(__LINE__, &m, 0) || !gives(__LINE__, &m, AEAD_OFLOW)) {
        return false;
    }
    seq[0] = 2;
    m = prepared(REPORT_REQ, 0, &req, sizeof(req));
    m.seq++;
    crypt(&m, true);
    return gives(__LINE__, &m, AEAD_OFLOW) && ask(REPORT_REQ, 0, &req, sizeof(req), &answer) &&
           ask(REPORT_REQ, 1, &req, sizeof(req), &answer);
}

/* KVM has no certificates to give: 24 bytes of zeros, and the report */
static bool extended(void)
{
    struct report_req req = { { 0 } };
    struct message m, answer;
    int i;

    carrier();
    m = prepared(REPORT_REQ, 0, &req, sizeof(req));
    crypt(&m, true);
    memset(vm->mem + CERTIFICATES, 0xff, PAGE);
    if (carry(&m, EXTENDED, CERTIFICATES, 1)) {
        return false;
    }
    memcpy(&answer, vm->mem + RESPONSE, sizeof(answer));
    for (i = 0; i < 24; i++) {
        if (vm->mem[CERTIFICATES + i]) {
            return false;
        }
    }
    return crypt(&answer, false) && report_of(&answer)->policy == SNP_POLICY;
}

/* The hypervisor's SNP_CONFIG shows in reports: the TCB that is reported, and whether the chip is named */
static bool config(void)
{
    struct sev_user_data_snp_config c = { .mask_chip_id = 1 };
    static const uint8_t none[64];
    struct sev_user_data_snp_status s;
    struct report_req req = { { 0 } };
    struct message m;
    uint32_t error;
    bool ok;

    if (platform(SNP_PLATFORM_STATUS, &s, &error)) {
        return false;
    }
    c.reported_tcb = s.current_tcb_version - 1;
    ok = !platform(SNP_SET_CONFIG, &c, &error);
    carrier();
    ok = ok && ask(REPORT_REQ, 0, &req, sizeof(req), &m) && report_of(&m)->reported_tcb == c.reported_tcb &&
         report_of(&m)->current_tcb == s.current_tcb_version && !memcmp(report_of(&m)->chip_id, none, 64);
    c = (struct sev_user_data_snp_config) { 0 };
    ok &= !platform(SNP_SET_CONFIG, &c, &error) && ask(REPORT_REQ, 0, &req, sizeof(req), &m) &&
          report_of(&m)->reported_tcb == s.current_tcb_version && memcmp(report_of(&m)->chip_id, none, 64);
    return ok;
}

const struct test snp_report_tests[] = {
    { "SNP: an attestation report tells what was launched, where, and for whom", report },
    { "SNP: equal launches measure alike", measured },
    { "SNP: a report of a VMPL above the asker's is refused", vmpls },
    { "SNP: derived keys follow from what is asked for", derived },
    { "SNP: each malformed message has its error", malformed },
    { "SNP: an altered message is refused", altered },
    { "SNP: a repeated message is refused", repeated },
    { "SNP: an extended request, without certificates", extended },
    { "SNP_CONFIG shows in reports", config },
    { NULL, NULL }
};
