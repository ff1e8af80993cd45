/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory encryption: whose plain text a page holds.
 *
 * A page of RAM holds either what the host sees (cipher text, if it is a
 * guest's private page) or plain text of one guest; it changes over when a
 * CPU of the other side is about to enter it into its TLB, after every other
 * CPU's TLB has let go of it.  So private memory costs nothing while only its
 * guest uses it, and the host reads scrambled bytes and destroys what it
 * writes.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/boards.h"
#include "compat.h"
#include "memory.h"

bool sev_tcg_opaque;
uint64_t sev_tcg_asid_key[SEV_ASIDS_MAX + 1];
QemuMutex sev_page_lock;

static void __attribute__((constructor)) sev_pages_init(void)
{
    qemu_mutex_init(&sev_page_lock);
}

typedef struct Page {
    uint64_t key:56;            /* 0: holds what the host sees */
    uint64_t seen:8;            /* CPUs whose TLB may hold it in this form */
} Page;

/* By page frame, of all memory; filled in lazily */
static Page *pages;
static uint64_t nr_pages;

static Page *page_of(uint64_t paddr)
{
    return paddr / SEV_PAGE < nr_pages ? &pages[paddr / SEV_PAGE] : NULL;
}

uint64_t sev_page_key(uint64_t paddr)
{
    Page *p = page_of(paddr);

    return p ? p->key : 0;
}

uint8_t *sev_page_ram(uint64_t paddr)
{
    hwaddr xlat, len = SEV_PAGE;
    MemoryRegion *mr = address_space_translate(&address_space_memory, paddr & TARGET_PAGE_MASK, &xlat, &len, true,
                                               MEMTXATTRS_UNSPECIFIED);

    return memory_region_is_ram(mr) && !mr->readonly && len == SEV_PAGE ?
           (uint8_t *)memory_region_get_ram_ptr(mr) + xlat : NULL;
}

/* Lock held, and no CPU but the caller's can be about to use the page */
static void change_over(uint64_t paddr, Page *p, uint64_t key)
{
    uint8_t *host;

    RCU_READ_LOCK_GUARD();
    paddr &= ~(SEV_PAGE - 1ull);
    host = sev_page_ram(paddr);
    if (!host) {
        return;
    }
    sev_tcg_crypt(p->key, paddr, host, SEV_PAGE);
    sev_tcg_crypt(key, paddr, host, SEV_PAGE);
    p->key = key;
}

static uint8_t cpu_bit(CPUState *cs)
{
    return 1u << (cs->cpu_index & 7);
}

/* Stop all other CPUs, and let their TLBs go of the page */
static void let_go(CPUState *self, Page *p)
{
    bool alone = cpu_in_exclusive_context(self), locked = bql_locked();
    CPUState *cs;

    if (locked) {
        bql_unlock();
    }
    if (!alone) {
        cpu_exec_end(self);
        start_exclusive();
    }
    CPU_FOREACH(cs) {
        if (cs != self && (p->seen & cpu_bit(cs))) {
            tlb_flush(cs);
        }
    }
    p->seen &= cpu_bit(self);
    if (!alone) {
        end_exclusive();
        cpu_exec_start(self);
    }
    if (locked) {
        bql_lock();
    }
}

/* Let the page at @paddr hold plain text of @key for the CPU @self, the caller's */
static void want(CPUState *self, uint64_t paddr, uint64_t key)
{
    Page *p = page_of(paddr);
    uint8_t bit = cpu_bit(self);

    /* Without the lock: a page that this CPU has seen changes over only while this CPU is stopped */
    if (!p || (p->key == key && (p->seen & bit))) {
        return;
    }
    qemu_mutex_lock(&sev_page_lock);
    while (p->key != key && (p->seen & ~bit)) {
        qemu_mutex_unlock(&sev_page_lock);
        /* Another CPU may see it again before this one runs */
        let_go(self, p);
        qemu_mutex_lock(&sev_page_lock);
    }
    if (p->key != key) {
        change_over(paddr, p, key);
        p->seen = 0;
        /* VMRUN and #VMEXIT load CR3, which flushes the host's entries and the guest's, but not these */
        tlb_flush_by_mmuidx(self, 1 << MMU_PHYS_IDX);
    }
    p->seen |= bit;
    qemu_mutex_unlock(&sev_page_lock);
}

/* The same for the host, from the mailbox or, all CPUs stopped, from a reset */
static void want_host_form(uint64_t paddr)
{
    if (current_cpu) {
        want(current_cpu, paddr, 0);
    } else {
        QEMU_LOCK_GUARD(&sev_page_lock);
        change_over(paddr, page_of(paddr), 0);
    }
}

void sev_page_io(uint64_t paddr, uint8_t *buf, bool write)
{
    uint8_t *host, *to, *from;

    RCU_READ_LOCK_GUARD();
    QEMU_LOCK_GUARD(&sev_page_lock);
    host = sev_page_ram(paddr);
    to = write ? host : buf;
    from = write ? buf : host;
    if (host) {
        memcpy(to, from, SEV_PAGE);
        sev_tcg_crypt(sev_page_key(paddr), paddr, to, SEV_PAGE);
    }
}

void sev_page_settle(uint64_t paddr, void (*change)(void *opaque), void *opaque)
{
    CPUState *self = current_cpu;
    Page *p = page_of(paddr);
    uint8_t others = self ? ~cpu_bit(self) : 0;     /* else: a reset, all CPUs stopped */

    qemu_mutex_lock(&sev_page_lock);
    while (p && (p->seen & others)) {
        qemu_mutex_unlock(&sev_page_lock);
        let_go(self, p);
        qemu_mutex_lock(&sev_page_lock);
    }
    if (p && self && p->seen) {
        tlb_flush(self);
    }
    if (p) {
        p->seen = 0;
    }
    change(opaque);
    qemu_mutex_unlock(&sev_page_lock);
}

uint64_t sev_tcg_leaf(CPUX86State *env, uint64_t paddr, bool has_cbit)
{
    env->sev.private = !has_cbit || (paddr & env->sev.cbit);
    env->sev.gpa = paddr & ~env->sev.cbit;
    return env->sev.gpa;
}

void sev_tcg_page(CPUX86State *env, int mmu_idx, uint64_t paddr)
{
    SevTcgState *s = &env->sev;

    /* Entries of the nested index are never used to access what they map */
    if (pages && mmu_idx != MMU_NESTED_IDX) {
        want(env_cpu(env), paddr, s->cbit && s->private && mmu_idx != MMU_PHYS_IDX ? s->key : 0);
    }
}

void sev_tcg_walk(CPUX86State *env, int ptw_idx, uint64_t paddr)
{
    if (pages && ptw_idx == MMU_NESTED_IDX) {
        want(env_cpu(env), paddr, env->sev.cbit ? env->sev.key : 0);
    }
}

void sev_tcg_flush_key(uint64_t key)
{
    uint64_t i;

    for (i = 0; i < nr_pages; i++) {
        if (pages[i].key == key) {
            want_host_form(i * SEV_PAGE);
        }
    }
}

void sev_tcg_set_opaque(bool on)
{
    sev_tcg_opaque = on;
    if (on && !pages) {
        /* Memory that does not fit below 4 GiB goes on there */
        nr_pages = (4 * GiB + current_machine->ram_size) / SEV_PAGE;
        pages = g_new0(Page, nr_pages);
    }
}
