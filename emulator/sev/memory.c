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
 * writes.  A device that the host lets read or write private memory sees
 * whichever form the page is in.  The cipher is a keyed, address-dependent XOR: it hides nothing from
 * an adversary, and everything from a mistake.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "qemu/bswap.h"
#include "cpu.h"
#include "compat.h"

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

/* ---- pages that change over ---- */

typedef struct Page {
    uint8_t form;               /* 0: what the host sees, else index in keys */
    uint8_t seen;               /* CPUs whose TLB may hold it in this form */
} Page;

/* By page frame, of the whole physical address space; filled in lazily */
static Page *pages;
static uint64_t nr_pages;
static uint64_t keys[MAX_KEYS];

static Page *page_of(uint64_t paddr)
{
    return pages && paddr / PAGE < nr_pages ? &pages[paddr / PAGE] : NULL;
}

static int key_index(uint64_t key)
{
    int i, free = 0;

    if (!key) {
        return 0;
    }
    for (i = 1; i < MAX_KEYS; i++) {
        if (keys[i] == key) {
            return i;
        }
        if (!keys[i] && !free) {
            free = i;
        }
    }
    if (!free) {
        error_report("sev: more than %d keys in use", MAX_KEYS - 1);
        abort();
    }
    keys[free] = key;
    return free;
}

/* Lock held, and no CPU but the caller's can be about to use the page */
static void change_over(uint64_t paddr, Page *p, int form)
{
    hwaddr xlat, len = PAGE;
    MemoryRegion *mr;
    uint8_t *host;

    RCU_READ_LOCK_GUARD();
    paddr &= ~(PAGE - 1ull);
    mr = address_space_translate(&address_space_memory, paddr, &xlat, &len,
                                 true, MEMTXATTRS_UNSPECIFIED);
    if (!memory_region_is_ram(mr) || mr->readonly || len < PAGE) {
        return;
    }
    host = (uint8_t *)memory_region_get_ram_ptr(mr) + xlat;
    if (p->form) {
        sev_tcg_crypt(keys[p->form], paddr, host, PAGE);
    }
    if (form) {
        sev_tcg_crypt(keys[form], paddr, host, PAGE);
    }
    p->form = form;
}

static uint8_t cpu_bit(CPUState *cs)
{
    return 1u << (cs->cpu_index & 7);
}

/* Let the page at @paddr hold @form for the CPU @self, the caller's */
static void want(CPUState *self, uint64_t paddr, int form)
{
    Page *p = page_of(paddr);
    uint8_t bit = cpu_bit(self);
    bool locked;
    CPUState *cs;

    /* Once a CPU has seen a page, it is stopped before the page changes over */
    if (!p || (p->form == form && (p->seen & bit))) {
        return;
    }
    qemu_mutex_lock(&lock);
    if (p->form == form) {
        p->seen |= bit;
        qemu_mutex_unlock(&lock);
        return;
    }
    if (!(p->seen & ~bit)) {
        change_over(paddr, p, form);
        p->seen = bit;
        qemu_mutex_unlock(&lock);
    } else {
        /* Stop the others, and let their TLBs go, before bytes change */
        bool alone = cpu_in_exclusive_context(self);

        qemu_mutex_unlock(&lock);
        locked = bql_locked();
        if (locked) {
            bql_unlock();
        }
        if (!alone) {
            cpu_exec_end(self);
            start_exclusive();
        }
        qemu_mutex_lock(&lock);
        if (p->form != form) {
            CPU_FOREACH(cs) {
                if (cs != self && (p->seen & cpu_bit(cs))) {
                    tlb_flush(cs);
                }
            }
            change_over(paddr, p, form);
            p->seen = 0;
        }
        p->seen |= bit;
        qemu_mutex_unlock(&lock);
        if (!alone) {
            end_exclusive();
            cpu_exec_start(self);
        }
        if (locked) {
            bql_lock();
        }
    }
    /* Entries of the other world are gone from this TLB but for these */
    tlb_flush_by_mmuidx(self, 1 << MMU_PHYS_IDX);
}

/* The same for the host, from the mailbox or, all CPUs stopped, from a reset */
static void want_host_form(uint64_t paddr)
{
    if (current_cpu) {
        want(current_cpu, paddr, 0);
    } else {
        qemu_mutex_lock(&lock);
        change_over(paddr, page_of(paddr), 0);
        qemu_mutex_unlock(&lock);
    }
}

uint64_t sev_tcg_leaf(CPUX86State *env, uint64_t paddr, bool has_cbit)
{
    env->sev.private = !has_cbit || (paddr & env->sev.cbit);
    return paddr & ~env->sev.cbit;
}

void sev_tcg_page(CPUX86State *env, int mmu_idx, uint64_t paddr)
{
    SevTcgState *s = &env->sev;

    /* Entries of the nested index are never used to access what they map */
    if (pages && mmu_idx != MMU_NESTED_IDX) {
        want(env_cpu(env), paddr,
             s->cbit && s->private && mmu_idx != MMU_PHYS_IDX ? s->form : 0);
    }
}

void sev_tcg_walk(CPUX86State *env, int ptw_idx, uint64_t paddr)
{
    if (pages && ptw_idx == MMU_NESTED_IDX) {
        want(env_cpu(env), paddr, env->sev.cbit ? env->sev.form : 0);
    }
}

void sev_tcg_flush_range(uint64_t paddr, uint64_t len)
{
    uint64_t a = paddr & ~(PAGE - 1ull);

    for (; pages && a < paddr + len; a += PAGE) {
        if (page_of(a) && page_of(a)->form) {
            want_host_form(a);
        }
    }
}

void sev_tcg_flush_key(uint64_t key)
{
    int form = key_index(key);
    uint64_t i;

    for (i = 0; i < nr_pages; i++) {
        if (pages[i].form == form) {
            want_host_form(i * PAGE);
        }
    }
    keys[form] = 0;
}

/* ---- switching on ---- */

void sev_tcg_set_opaque(bool on)
{
    sev_tcg_opaque = on;
    if (on && !pages) {
        nr_pages = 64 * GiB / PAGE;
        pages = g_new0(Page, nr_pages);
    }
}

int sev_tcg_form(uint64_t key)
{
    int form;

    qemu_mutex_lock(&lock);
    form = pages ? key_index(key) : 0;
    qemu_mutex_unlock(&lock);
    return form;
}
