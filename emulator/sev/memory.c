/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory encryption.
 *
 * A page of RAM holds either what the host sees (cipher text, if it is a
 * guest's private page) or plain text of one guest; it changes over when a
 * CPU of the other side is about to enter it into its TLB, after every other
 * CPU's TLB has let go of it.  So private memory costs nothing while only its
 * guest uses it, and the host reads scrambled bytes and destroys what it
 * writes.  The cipher is a keyed, address-dependent XOR: it hides nothing from
 * an adversary, and everything from a mistake.
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "qemu/bswap.h"
#include "cpu.h"
#include "compat.h"
#include "exec/address-spaces.h"

#define PAGE            4096
#define MAX_KEYS        256

bool sev_tcg_opaque;
uint64_t sev_tcg_asid_key[SEV_ASIDS + 1];

static QemuMutex lock;
static GHashTable *seals;

static void __attribute__((constructor)) sev_tcg_memory_init(void)
{
    qemu_mutex_init(&lock);
    seals = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
}

static uint64_t mix(uint64_t x)
{
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
    return x ^ (x >> 31);
}

void sev_tcg_crypt(uint64_t key, uint64_t paddr, uint8_t *buf, uint32_t len)
{
    uint32_t i;

    for (i = 0; i < len; i++) {
        uint64_t word = mix(key ^ mix((paddr + i) & ~7ull));

        if (!((paddr + i) & 7) && len - i >= 8) {
            stq_le_p(buf + i, ldq_le_p(buf + i) ^ word);
            i += 7;
        } else {
            buf[i] ^= word >> (8 * ((paddr + i) & 7));
        }
    }
}

/* ---- VMSAs at rest ---- */

typedef struct Seal {
    uint64_t vmsa;
    uint64_t key;
    uint64_t digest;
} Seal;

static uint64_t digest(const uint8_t *page)
{
    uint64_t d = 0;
    int i;

    for (i = 0; i < PAGE; i += 8) {
        d = (d ^ ldq_le_p(page + i)) * 0x9e3779b97f4a7c15ull;
        d ^= d >> 29;
    }
    return d;
}

void sev_tcg_vmsa_seal(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal *s = g_new(Seal, 1);

    *s = (Seal) { .vmsa = vmsa, .key = key, .digest = digest(page) };
    qemu_mutex_lock(&lock);
    g_hash_table_replace(seals, &s->vmsa, s);
    qemu_mutex_unlock(&lock);
}

static Seal find_seal(uint64_t key, uint64_t vmsa)
{
    Seal *s, found = { 0 };

    qemu_mutex_lock(&lock);
    s = g_hash_table_lookup(seals, &vmsa);
    if (s && s->key == key) {
        found = *s;
    }
    qemu_mutex_unlock(&lock);
    return found;
}

bool sev_tcg_is_vmsa(uint64_t key, uint64_t vmsa)
{
    return find_seal(key, vmsa).key;
}

bool sev_tcg_vmsa_sealed(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal s = find_seal(key, vmsa);

    return s.key && s.digest == digest(page);
}

static gboolean of_key(gpointer vmsa, gpointer s, gpointer key)
{
    return ((Seal *)s)->key == *(uint64_t *)key;
}

void sev_tcg_forget_vmsas(uint64_t key)
{
    qemu_mutex_lock(&lock);
    g_hash_table_foreach_remove(seals, of_key, &key);
    qemu_mutex_unlock(&lock);
}

uint64_t sev_tcg_leaf(CPUX86State *env, uint64_t paddr, bool has_cbit)
{
    env->sev.private = !has_cbit || (paddr & env->sev.cbit);
    return paddr & ~env->sev.cbit;
}
void sev_tcg_page(CPUX86State *env, int mmu_idx, uint64_t paddr) { }
void sev_tcg_walk(CPUX86State *env, int ptw_idx, uint64_t paddr) { }
void sev_tcg_flush_range(uint64_t paddr, uint64_t len) { }
void sev_tcg_flush_key(uint64_t key) { }
