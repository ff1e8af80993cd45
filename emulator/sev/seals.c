/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VMSAs of SEV-ES guests at rest: each is remembered as the last #VMEXIT or
 * the launch left it, so that one that was altered is not run.  Those of SNP
 * guests need none of this: the reverse map table keeps others away.
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "memory.h"

typedef struct Seal {
    uint64_t vmsa;
    uint64_t key;
    uint8_t page[SEV_PAGE];
} Seal;

static QemuMutex lock;
static GHashTable *seals;

static void __attribute__((constructor)) sev_seals_init(void)
{
    qemu_mutex_init(&lock);
    seals = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, g_free);
}

void sev_tcg_vmsa_seal(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal *s = g_new(Seal, 1);

    s->vmsa = vmsa;
    s->key = key;
    memcpy(s->page, page, SEV_PAGE);
    QEMU_LOCK_GUARD(&lock);
    g_hash_table_replace(seals, &s->vmsa, s);
}

bool sev_tcg_vmsa_sealed(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal *s;

    QEMU_LOCK_GUARD(&lock);
    s = g_hash_table_lookup(seals, &vmsa);
    return s && s->key == key && (!page || !memcmp(s->page, page, SEV_PAGE));
}

static gboolean of_key(gpointer vmsa, gpointer s, gpointer key)
{
    return ((Seal *)s)->key == *(uint64_t *)key;
}

void sev_tcg_forget_vmsas(uint64_t key)
{
    QEMU_LOCK_GUARD(&lock);
    g_hash_table_foreach_remove(seals, of_key, &key);
}
