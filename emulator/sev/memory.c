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
 * writes.  So do its devices, but word by word: no page changes over for them.
 * The cipher is a keyed, address-dependent XOR: it hides nothing from an
 * adversary, and everything from a mistake.
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "qemu/bswap.h"
#include "hw/boards.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "cpu.h"
#include "compat.h"

#define PAGE            4096

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

    for (i = 0; key && i < len; i++) {
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
    uint8_t page[PAGE];
} Seal;

void sev_tcg_vmsa_seal(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal *s = g_new(Seal, 1);

    s->vmsa = vmsa;
    s->key = key;
    memcpy(s->page, page, PAGE);
    QEMU_LOCK_GUARD(&lock);
    g_hash_table_replace(seals, &s->vmsa, s);
}

bool sev_tcg_vmsa_sealed(uint64_t key, uint64_t vmsa, const uint8_t *page)
{
    Seal *s;

    QEMU_LOCK_GUARD(&lock);
    s = g_hash_table_lookup(seals, &vmsa);
    return s && s->key == key && (!page || !memcmp(s->page, page, PAGE));
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

/* ---- pages that change over ---- */

typedef struct Page {
    uint64_t key:56;            /* 0: holds what the host sees */
    uint64_t seen:8;            /* CPUs whose TLB may hold it in this form */
} Page;

/* By page frame, of all memory; filled in lazily */
static Page *pages;
static uint64_t nr_pages;

static Page *page_of(uint64_t paddr)
{
    return paddr / PAGE < nr_pages ? &pages[paddr / PAGE] : NULL;
}

/* Lock held, and no CPU but the caller's can be about to use the page */
static void change_over(uint64_t paddr, Page *p, uint64_t key)
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
    sev_tcg_crypt(p->key, paddr, host, PAGE);
    sev_tcg_crypt(key, paddr, host, PAGE);
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

    /* Once a CPU has seen a page, it is stopped before the page changes over */
    if (!p || (p->key == key && (p->seen & bit))) {
        return;
    }
    qemu_mutex_lock(&lock);
    while (p->key != key && (p->seen & ~bit)) {
        qemu_mutex_unlock(&lock);
        /* Another CPU may see it again before this one runs */
        let_go(self, p);
        qemu_mutex_lock(&lock);
    }
    if (p->key != key) {
        change_over(paddr, p, key);
        p->seen = 0;
        /* Entries of the other world are gone from this TLB but for these */
        tlb_flush_by_mmuidx(self, 1 << MMU_PHYS_IDX);
    }
    p->seen |= bit;
    qemu_mutex_unlock(&lock);
}

/* The same for the host, from the mailbox or, all CPUs stopped, from a reset */
static void want_host_form(uint64_t paddr)
{
    if (current_cpu) {
        want(current_cpu, paddr, 0);
    } else {
        QEMU_LOCK_GUARD(&lock);
        change_over(paddr, page_of(paddr), 0);
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
            want_host_form(i * PAGE);
        }
    }
}

void sev_tcg_set_opaque(bool on)
{
    sev_tcg_opaque = on;
    if (on && !pages) {
        /* What does not fit below 4 GiB is above */
        nr_pages = (4 * GiB + current_machine->ram_size) / PAGE;
        pages = g_new0(Page, nr_pages);
    }
}

/* ---- what the host's devices see ---- */

AddressSpace sev_tcg_host_view;
static MemoryRegion host_view;

static uint64_t key_of(uint64_t paddr)
{
    return page_of(paddr) ? page_of(paddr)->key : 0;
}

static uint64_t device_reads(void *opaque, hwaddr paddr, unsigned size)
{
    uint64_t word = 0;

    QEMU_LOCK_GUARD(&lock);
    cpu_physical_memory_read(paddr, &word, size);
    sev_tcg_crypt(key_of(paddr), paddr, (uint8_t *)&word, size);
    return le64_to_cpu(word);
}

/* Not under the lock: translations of code are dropped, whose makers take it */
static void device_writes(void *opaque, hwaddr paddr, uint64_t val, unsigned size)
{
    uint64_t word = cpu_to_le64(val);

    sev_tcg_crypt(key_of(paddr), paddr, (uint8_t *)&word, size);
    cpu_physical_memory_write(paddr, &word, size);
}

static const MemoryRegionOps host_view_ops = {
    .read = device_reads,
    .write = device_writes,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .max_access_size = 8, .unaligned = true },
    .impl = { .max_access_size = 8 },
};

static AddressSpace *view_of(PCIBus *bus, void *opaque, int devfn)
{
    if (bus->devices[devfn]) {
        bus->devices[devfn]->bus_master_as.max_bounce_buffer_size = 64 * MiB;
    }
    return &sev_tcg_host_view;
}

void sev_tcg_show_devices(PCIBus *bus)
{
    static const PCIIOMMUOps ops = { .get_address_space = view_of };

    memory_region_init_io(&host_view, NULL, &host_view_ops, NULL, "sev-tcg-host-view", UINT64_MAX);
    address_space_init(&sev_tcg_host_view, &host_view, "sev-tcg-host-view");
    pci_setup_iommu(bus, &ops, NULL);
}
