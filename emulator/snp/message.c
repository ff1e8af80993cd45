/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * SNP firmware: messages of a guest, sealed with a key of its VMPL so that the
 * hypervisor who carries them neither reads nor changes nor repeats them.
 */
#include "qemu/osdep.h"
#include <nettle/gcm.h>
#include "firmware.h"

enum { ALGO_AES_256_GCM = 1, HEADER_VERSION = 1 };
enum { KEY_REQ = 3, REPORT_REQ = 5 };
enum { TAG = 16 };

typedef struct QEMU_PACKED Message {
    uint8_t tag[32];
    uint64_t seq, reserved1;
    /* From here on to the payload, the tag covers what is not encrypted */
    uint8_t algo, header_version;
    uint16_t header_size;
    uint8_t type, version;
    uint16_t size;
    uint32_t reserved2;
    uint8_t vmpck, reserved3[35];
    uint8_t payload[PAGE - 96];
} Message;
QEMU_BUILD_BUG_ON(sizeof(Message) != PAGE);

static void seal(const uint8_t *key, Message *m, uint8_t tag[TAG], bool open)
{
    uint8_t iv[GCM_IV_SIZE] = { 0 };
    size_t size = le16_to_cpu(m->size);
    struct gcm_aes256_ctx c;

    memcpy(iv, &m->seq, sizeof(m->seq));
    gcm_aes256_set_key(&c, key);
    gcm_aes256_set_iv(&c, sizeof(iv), iv);
    gcm_aes256_update(&c, offsetof(Message, payload) - offsetof(Message, algo), &m->algo);
    (open ? gcm_aes256_decrypt : gcm_aes256_encrypt)(&c, size, m->payload, m->payload);
    gcm_aes256_digest(&c, TAG, tag);
}

int snp_guest_request(int cmd, SnpGuest *g, uint8_t *b)
{
    uint64_t req = sev_paddr(b + 8), resp = sev_paddr(b + 16);
    uint8_t answer[sizeof_field(Message, payload)] = { 0 }, tag[TAG];
    uint16_t size;
    Message m;

    REFUSE((req | resp) & (PAGE - 1), ST_ADDRESS);
    REFUSE(snp_output_page(resp, PAGE), ST_PAGE_STATE);
    REFUSE(snp_input(req, &m, sizeof(m)), ST_ADDRESS);
    REFUSE(m.algo != ALGO_AES_256_GCM || m.header_version != HEADER_VERSION ||
           le16_to_cpu(m.header_size) != offsetof(Message, payload) || m.version != 1 ||
           m.vmpck >= SNP_VMPLS || le16_to_cpu(m.size) > sizeof(m.payload), ST_PARAM);
    REFUSE(g->seq[m.vmpck] >= UINT64_MAX - 2 || le64_to_cpu(m.seq) != g->seq[m.vmpck] + 1, ST_AEAD_OFLOW);
    seal(g->vmpck[m.vmpck], &m, tag, true);
    REFUSE(memcmp(tag, m.tag, TAG), ST_MEASUREMENT);
    size = le16_to_cpu(m.size);
    switch (m.type) {
    case REPORT_REQ:
        REFUSE(size != 96, ST_PARAM);
        size = snp_report_answer(g, m.vmpck, m.payload, answer);
        break;
    case KEY_REQ:
        REFUSE(size != 32, ST_PARAM);
        size = snp_key_answer(g, m.vmpck, m.payload, answer);
        break;
    default:
        return ST_PARAM;
    }
    g->seq[m.vmpck] += 2;
    memset(m.tag, 0, sizeof(m.tag));
    memcpy(m.payload, answer, sizeof(answer));
    m.seq = cpu_to_le64(g->seq[m.vmpck]);
    m.size = cpu_to_le16(size);
    m.type++;
    seal(g->vmpck[m.vmpck], &m, m.tag, false);
    return snp_output(resp, &m, sizeof(m));
}
