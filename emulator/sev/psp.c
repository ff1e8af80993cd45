/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * AMD platform security processor as a PCI device: the mailbox through which
 * the host talks to the SEV firmware (layout of Genoa, 1022:14ca, BAR 2).
 */
#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qapi/error.h"
#include "hw/i386/x86-iommu.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/msi.h"
#include "hw/qdev-properties.h"
#include "compat.h"
#include "firmware.h"
#include "msr.h"
#include "tcg/snp/firmware.h"

#define TYPE_AMD_PSP "amd-psp"
OBJECT_DECLARE_SIMPLE_TYPE(AmdPspState, AMD_PSP)

#define WINDOW          0x10000         /* of the BAR: where the registers are */
enum { R_INTEN = 0x690, R_INTSTS = 0x694, R_CMDRESP = 0x980, R_CMDBUF = 0x9e0, R_FEATURE = 0x9fc };
enum { CMDRESP_RESP = 1 << 31, CMDRESP_IOC = 1, INT_SEV_DONE = 2, FEATURE_SEV = 1 };

struct AmdPspState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    uint32_t reg[R_FEATURE / 4 + 1], chip;
    uint64_t tcb;
    bool opaque, self_test, snp, keys;
};

static int psp_length(int cmd)
{
    const SnpCommand *snp = snp_command(cmd);

    return snp ? snp->len : cmd < ARRAY_SIZE(sev_commands) ? sev_commands[cmd].len : 0;
}

static void psp_doorbell(AmdPspState *s, uint32_t val)
{
    int cmd = (val >> 16) & 0x7ff, st, len = psp_length(cmd);
    uint64_t addr = sev_paddr(&s->reg[R_CMDBUF / 4]);
    uint8_t b[COMMAND_MAX] = { 0 }, was[COMMAND_MAX];

    /* The firmware knows physical addresses: no IOMMU translates for it */
    if ((len && !addr) || !sev_host_io(addr, b, len, false)) {
        st = ST_ADDRESS;
    } else {
        memcpy(was, b, len);
        st = sev_firmware_command(cmd, b);
        if (memcmp(b, was, len)) {
            st = snp_output(addr, b, len) ?: st;
        }
    }
    qemu_log_mask(LOG_UNIMP, "amd-psp: command %#x handle %#x: status %#x\n", cmd, ldl_le_p(b), st);
    s->reg[R_CMDRESP / 4] = CMDRESP_RESP | (val & 0x07ff0000) | st;
    if (val & CMDRESP_IOC) {
        s->reg[R_INTSTS / 4] |= INT_SEV_DONE;
        if ((s->reg[R_INTEN / 4] & INT_SEV_DONE) && msi_enabled(&s->parent_obj)) {
            msi_notify(&s->parent_obj, 0);
        }
    }
}

static uint64_t psp_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    return addr - WINDOW <= R_FEATURE ? AMD_PSP(opaque)->reg[(addr - WINDOW) / 4] : 0;
}

static void psp_mmio_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    AmdPspState *s = opaque;

    if (addr - WINDOW == R_CMDRESP) {
        psp_doorbell(s, val);
    } else if (addr - WINDOW < R_FEATURE) {
        s->reg[(addr - WINDOW) / 4] = addr - WINDOW == R_INTSTS ? s->reg[R_INTSTS / 4] & ~val : val;
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
    Error *err = NULL;

    if (!sev_tcg_check_model(errp) || msi_init(pdev, 0, 1, true, false, errp)) {
        return;
    }
    if (s->snp && !(s->opaque && x86_iommu_get_default())) {
        error_setg(errp, "amd-psp: snp=on needs opaque=on, and -device amd-iommu,snp=on before it");
        return;
    }
    sev_tcg_set_opaque(s->opaque);
    sev_tcg_show_devices(pci_device_root_bus(pdev), x86_iommu_get_default());
    if (s->snp) {
        snp_rmp_setup(&err);
        if (err) {
            error_propagate(errp, err);
            return;
        }
    }
    sev_chip = s->chip;
    if (s->keys) {
        snp_print_keys(s->tcb ?: snp_current_tcb());
        exit(0);
    }
    if (s->self_test) {
        exit(!sev_self_test());
    }
    memory_region_init_io(&s->mmio, OBJECT(s), &psp_mmio_ops, s, TYPE_AMD_PSP, 1 * MiB);
    pci_register_bar(pdev, 2, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
}

static void psp_reset(DeviceState *dev)
{
    AmdPspState *s = AMD_PSP(dev);

    sev_shutdown(0, NULL, NULL);
    snp_reset();
    memset(s->reg, 0, sizeof(s->reg));
    s->reg[R_CMDRESP / 4] = CMDRESP_RESP;
    s->reg[R_FEATURE / 4] = FEATURE_SEV;
}

static const Property psp_properties[] = {
    DEFINE_PROP_BOOL("opaque", AmdPspState, opaque, true),
    DEFINE_PROP_BOOL("snp", AmdPspState, snp, false),
    DEFINE_PROP_UINT32("chip", AmdPspState, chip, 0),
    /* Print what the issuer of certificates needs, for a TCB version (0: the current one), and end */
    DEFINE_PROP_BOOL("keys", AmdPspState, keys, false),
    DEFINE_PROP_UINT64("tcb", AmdPspState, tcb, 0),
    DEFINE_PROP_BOOL("self-test", AmdPspState, self_test, false),
};

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
    device_class_set_props(dc, psp_properties);
}

static const TypeInfo psp_info[] = { {
    .name = TYPE_AMD_PSP,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(AmdPspState),
    .class_init = psp_class_init,
    .interfaces = (SEV_CONST InterfaceInfo[]) { { INTERFACE_CONVENTIONAL_PCI_DEVICE }, { } },
} };

DEFINE_TYPES(psp_info)
