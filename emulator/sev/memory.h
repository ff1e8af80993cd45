/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory encryption: keys, sealed VMSAs, the form of each page, views.
 */
#ifndef I386_TCG_SEV_MEMORY_H
#define I386_TCG_SEV_MEMORY_H

#include "cpu.h"

#define SEV_PAGE                4096    /* bytes */

/* The processor's model: all CPUs have that of the first */
static inline const SevTcgModel *sev_model(void)
{
    return &X86_CPU(first_cpu)->sev_model;
}

static inline uint64_t sev_cbit_mask(void)
{
    return 1ull << sev_model()->cbit;
}

/* ---- cipher.c ---- */

/* Encrypt or decrypt @len bytes of @buf that lie at @paddr: its own inverse; key 0 changes nothing */
void sev_tcg_crypt(uint64_t key, uint64_t paddr, uint8_t *buf, uint32_t len);

/* ---- seals.c: VMSAs at rest ---- */

/* Remember the encrypted @page, 4096 bytes, as the VMSA at @vmsa of the guest with @key */
void sev_tcg_vmsa_seal(uint64_t key, uint64_t vmsa, const uint8_t *page);
/* Is it as remembered?  Without @page: is there any at @vmsa? */
bool sev_tcg_vmsa_sealed(uint64_t key, uint64_t vmsa, const uint8_t *page);
/* Forget all of @key */
void sev_tcg_forget_vmsas(uint64_t key);

/* ---- pages.c: whose plain text a page holds ---- */

/* Property "opaque" of amd-psp: private memory is scrambled for the host.  Fixed before a guest runs */
extern bool sev_tcg_opaque;
void sev_tcg_set_opaque(bool on);

/* What the PSP has activated, by ASID: the guest's key, never 0 if active */
extern uint64_t sev_tcg_asid_key[SEV_ASIDS_MAX + 1];

/*
 * Guards which key each page is under, and the reverse map table.  Taken by a
 * CPU that translates code, so code must not be invalidated under it.
 */
extern QemuMutex sev_page_lock;

/* Lock held: the key that the page at @paddr is the plain text of, 0: the host's form */
uint64_t sev_page_key(uint64_t paddr);
/* QEMU's memory of the page around @paddr, valid under RCU; NULL: it is none that can be written */
uint8_t *sev_page_ram(uint64_t paddr);
/* Copy a whole page as the host would see it, from or to @buf, whichever form it is in */
void sev_page_io(uint64_t paddr, uint8_t *buf, bool write);
/*
 * Call @change under the lock once no TLB holds the page at @paddr.  For a
 * change that takes a right from somebody.
 */
void sev_page_settle(uint64_t paddr, void (*change)(void *opaque), void *opaque);
/* Bring all RAM that holds plain text of @key into the form that the host sees */
void sev_tcg_flush_key(uint64_t key);

/* ---- view.c: memory as the host sees it, whichever form a page is in ---- */

/* What the firmware sees; the view of devices is in sev.h, for the IOMMU */
extern AddressSpace *sev_firmware_view;
/* Let devices of @bus have the host's view; an IOMMU, if there is one, translates to it */
void sev_tcg_show_devices(PCIBus *bus, bool iommu);

#endif
