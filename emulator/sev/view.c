/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory as the host's devices and the firmware see it: scrambled where a page
 * holds plain text of a guest, word by word, so that no page changes over for
 * them.
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/lockable.h"
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

/* One word: no change of the page's form or owner comes between its parts */
static MemTxResult view_read(void *opaque, hwaddr paddr, uint64_t *val, unsigned size,
                             MemTxAttrs attrs)
{
    MemTxResult res = MEMTX_OK;
    uint64_t word = 0;
    uint8_t *host;

    RCU_READ_LOCK_GUARD();
    host = sev_page_ram(paddr);
    if (!host) {
        res = address_space_read(&address_space_memory, paddr, attrs, &word, size);
    } else {
        QEMU_LOCK_GUARD(&sev_page_lock);
        memcpy(&word, host + (paddr & ~TARGET_PAGE_MASK), size);
        sev_tcg_crypt(sev_page_key(paddr), paddr, (uint8_t *)&word, size);
    }
    *val = le64_to_cpu(word);
    return res;
}

/*
 * The same.  address_space_unmap() invalidates code that was translated from
 * there, after the lock is given back: a CPU that translates takes it, too.
 */
static MemTxResult view_write(void *opaque, hwaddr paddr, uint64_t val, unsigned size,
                              MemTxAttrs attrs)
{
    View *v = opaque;
    uint64_t word = cpu_to_le64(val);
    hwaddr len = size;
    uint8_t *host = address_space_map(&address_space_memory, paddr, &len, true, attrs);
    bool allowed;

    if (!host) {
        return MEMTX_DECODE_ERROR;
    }
    qemu_mutex_lock(&sev_page_lock);
    allowed = v->firmware || !snp_rmp_owned(paddr);
    if (allowed) {
        sev_tcg_crypt(sev_page_key(paddr), paddr, (uint8_t *)&word, size);
        memcpy(host, &word, len);
    }
    qemu_mutex_unlock(&sev_page_lock);
    address_space_unmap(&address_space_memory, host, len, true, allowed ? len : 0);
    if (!allowed) {
        qemu_log_mask(LOG_GUEST_ERROR, "SNP: a device writes to %#" HWADDR_PRIx
                      ", which is not the hypervisor's\n", paddr);
    }
    return !allowed ? MEMTX_ACCESS_ERROR : len == size ? MEMTX_OK : MEMTX_DECODE_ERROR;
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
