/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory as the host's devices and the firmware see it: scrambled where a page
 * holds plain text of a guest, word by word, so that no page changes over for
 * them.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/log.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "compat.h"
#include "memory.h"
#include "tcg/snp/rmp.h"

/* An access of 4 MiB is one request of a disk; there may be several */
#define BOUNCE_MAX      (64 * MiB)

typedef struct View {
    AddressSpace as;
    MemoryRegion mr;
    bool firmware;                      /* the reverse map table does not bind it */
} View;

static View devices, firmware = { .firmware = true };
AddressSpace *sev_tcg_host_view;
AddressSpace *sev_firmware_view = &firmware.as;

/*
 * One word at @paddr.  The lock holds off changes of the page's form and owner
 * while the word is copied, and no longer: that a word was written, its mapping
 * tells whoever has translated code there when it ends.
 */
static MemTxResult copy(View *v, hwaddr paddr, void *word, unsigned size, bool write)
{
    hwaddr len = size;
    uint8_t *host = address_space_map(&address_space_memory, paddr, &len, write,
                                      MEMTXATTRS_UNSPECIFIED);
    MemTxResult res = host && len == size ? MEMTX_OK : MEMTX_DECODE_ERROR;

    if (!host) {
        return res;
    }
    qemu_mutex_lock(&sev_page_lock);
    if (write && !v->firmware && snp_rmp_owned(paddr)) {
        res = MEMTX_ACCESS_ERROR;
    }
    if (res == MEMTX_OK && write) {
        sev_tcg_crypt(sev_page_key(paddr), paddr, word, size);
        memcpy(host, word, size);
    } else if (res == MEMTX_OK) {
        memcpy(word, host, size);
        sev_tcg_crypt(sev_page_key(paddr), paddr, word, size);
    }
    qemu_mutex_unlock(&sev_page_lock);
    address_space_unmap(&address_space_memory, host, len, write, res == MEMTX_OK ? len : 0);
    if (res == MEMTX_ACCESS_ERROR) {
        qemu_log_mask(LOG_GUEST_ERROR, "SNP: a device writes to %#" HWADDR_PRIx
                      ", which is not the hypervisor's\n", paddr);
    }
    return res;
}

static MemTxResult view_read(void *opaque, hwaddr paddr, uint64_t *val, unsigned size,
                             MemTxAttrs attrs)
{
    uint64_t word = 0;
    MemTxResult res = copy(opaque, paddr, &word, size, false);

    *val = le64_to_cpu(word);
    return res;
}

static MemTxResult view_write(void *opaque, hwaddr paddr, uint64_t val, unsigned size,
                              MemTxAttrs attrs)
{
    uint64_t word = cpu_to_le64(val);

    return copy(opaque, paddr, &word, size, true);
}

static const MemoryRegionOps view_ops = {
    .read_with_attrs = view_read,
    .write_with_attrs = view_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .max_access_size = 8, .unaligned = true },
    .impl = { .max_access_size = 8 },
};

void sev_tcg_bounce(PCIBus *bus, int devfn)
{
    if (sev_tcg_host_view && bus->devices[devfn]) {
        bus->devices[devfn]->bus_master_as.max_bounce_buffer_size = BOUNCE_MAX;
    }
}

static AddressSpace *view_of(PCIBus *bus, void *opaque, int devfn)
{
    sev_tcg_bounce(bus, devfn);
    return sev_tcg_host_view;
}

static void view_init(View *v, const char *name)
{
    memory_region_init_io(&v->mr, NULL, &view_ops, v, name, UINT64_MAX);
    address_space_init(&v->as, &v->mr, name);
}

void sev_tcg_show_devices(PCIBus *bus, bool iommu)
{
    static const PCIIOMMUOps ops = { .get_address_space = view_of };

    view_init(&firmware, "sev-firmware-view");
    view_init(&devices, "sev-host-view");
    sev_tcg_host_view = &devices.as;
    if (!iommu) {
        pci_setup_iommu(bus, &ops, NULL);
    }
}
