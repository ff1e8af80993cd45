/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AMD platform security processor as a PCI device: the mailbox through which
 * the host talks to the SEV firmware (layout of Genoa, 1022:14ca, BAR 2).
 */
#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qemu/log.h"
#include "qemu/bswap.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/msi.h"
#include "cpu.h"
#include "compat.h"
#include "psp.h"

#define TYPE_AMD_PSP "amd-psp"
OBJECT_DECLARE_SIMPLE_TYPE(AmdPspState, AMD_PSP)

#define R_INTEN         0x10690
#define R_INTSTS        0x10694
#define R_CMDRESP       0x10980
#define R_CMDBUF_LO     0x109e0
#define R_CMDBUF_HI     0x109e4
#define R_FEATURE       0x109fc

#define CMDRESP_RESP    (1u << 31)
#define CMDRESP_IOC     (1u << 0)
#define INT_SEV_DONE    (1u << 1)
#define FEATURE_SEV     (1u << 0)

struct AmdPspState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    uint32_t inten, intsts, cmdresp, lo, hi;
    bool opaque;
};

static void psp_doorbell(AmdPspState *s, uint32_t val)
{
    int cmd = (val >> 16) & 0x7ff, len = sev_firmware_length(cmd), st;
    uint64_t addr = ((uint64_t)s->hi << 32 | s->lo) & ~SEV_CBIT_MASK;
    uint8_t b[SEV_COMMAND_MAX] = { 0 };

    if (len && (!addr || pci_dma_read(&s->parent_obj, addr, b, len))) {
        st = SEV_ST_INVALID_ADDRESS;
    } else {
        st = sev_firmware_command(cmd, b);
        if (len) {
            pci_dma_write(&s->parent_obj, addr, b, len);
        }
    }
    qemu_log_mask(LOG_UNIMP, "amd-psp: command %#x handle %#x: status %#x\n",
                  cmd, ldl_le_p(b), st);
    s->cmdresp = CMDRESP_RESP | (val & 0x07ff0000) | st;
    if (val & CMDRESP_IOC) {
        s->intsts |= INT_SEV_DONE;
        if ((s->inten & INT_SEV_DONE) && msi_enabled(&s->parent_obj)) {
            msi_notify(&s->parent_obj, 0);
        }
    }
}

static uint64_t psp_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    AmdPspState *s = opaque;

    switch (addr) {
    case R_FEATURE:
        return FEATURE_SEV;
    case R_INTEN:
        return s->inten;
    case R_INTSTS:
        return s->intsts;
    case R_CMDRESP:
        return s->cmdresp;
    case R_CMDBUF_LO:
        return s->lo;
    case R_CMDBUF_HI:
        return s->hi;
    }
    return 0;
}

static void psp_mmio_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    AmdPspState *s = opaque;

    switch (addr) {
    case R_INTEN:
        s->inten = val;
        break;
    case R_INTSTS:
        s->intsts &= ~val;
        break;
    case R_CMDRESP:
        psp_doorbell(s, val);
        break;
    case R_CMDBUF_LO:
        s->lo = val;
        break;
    case R_CMDBUF_HI:
        s->hi = val;
        break;
    }
}

static const MemoryRegionOps psp_mmio_ops = {
    .read = psp_mmio_read,
    .write = psp_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 4, .max_access_size = 4 },
};

static void psp_realize(PCIDevice *pdev, Error **errp)
{
    AmdPspState *s = AMD_PSP(pdev);

    if (msi_init(pdev, 0, 1, true, false, errp)) {
        return;
    }
    sev_tcg_set_opaque(s->opaque);
    memory_region_init_io(&s->mmio, OBJECT(s), &psp_mmio_ops, s, TYPE_AMD_PSP,
                          1 * MiB);
    pci_register_bar(pdev, 2, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
}

static bool psp_get_opaque(Object *obj, Error **errp)
{
    return AMD_PSP(obj)->opaque;
}

static void psp_set_opaque(Object *obj, bool value, Error **errp)
{
    AMD_PSP(obj)->opaque = value;
}

static void psp_instance_init(Object *obj)
{
    AMD_PSP(obj)->opaque = true;
    object_property_add_bool(obj, "opaque", psp_get_opaque, psp_set_opaque);
}

static void psp_reset(DeviceState *dev)
{
    AmdPspState *s = AMD_PSP(dev);

    sev_firmware_reset();
    s->inten = s->intsts = s->lo = s->hi = 0;
    s->cmdresp = CMDRESP_RESP;
}

static void psp_class_init(ObjectClass *klass, SEV_CONST void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = psp_realize;
    k->vendor_id = PCI_VENDOR_ID_AMD;
    k->device_id = 0x14ca;
    k->class_id = 0x1080;
    dc->desc = "AMD PSP with SEV firmware";
    device_class_set_legacy_reset(dc, psp_reset);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo psp_info = {
    .name = TYPE_AMD_PSP,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(AmdPspState),
    .instance_init = psp_instance_init,
    .class_init = psp_class_init,
    .interfaces = (SEV_CONST InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { },
    },
};

static void psp_register(void)
{
    type_register_static(&psp_info);
}
type_init(psp_register)
