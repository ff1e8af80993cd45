// SPDX-License-Identifier: GPL-2.0
//! Page tables, descriptors and first registers of a test guest: flat 64-bit long mode.

use anyhow::Result;
use kvm_bindings::{kvm_regs, kvm_segment, kvm_sregs};
use mailbox::{map, PAGE};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

const PRESENT: u64 = 1 << 0;
const WRITABLE: u64 = 1 << 1;
const USER: u64 = 1 << 2;
const LARGE: u64 = 1 << 7;
const LARGE_PAGE: u64 = 2 << 20;

const PML4: u64 = map::TABLES;
const PDPT: u64 = map::TABLES + PAGE;
const PD_LOW: u64 = map::TABLES + 2 * PAGE;
const PD_MMIO: u64 = map::TABLES + 3 * PAGE;

const CR0_PE: u64 = 1 << 0;
const CR0_MP: u64 = 1 << 1;
const CR0_NE: u64 = 1 << 5;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const CR4_OSXSAVE: u64 = 1 << 18;
const EFER_SCE: u64 = 1 << 0;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// Selectors; the guest's code knows them too.
const KERNEL_CODE: u16 = 0x08;
const KERNEL_DATA: u16 = 0x10;
const TASK: u16 = 0x28;

/// GDT: null, kernel code and data, user code and data, TSS.
fn descriptors(tss: u64) -> [u64; 7] {
    let limit = TSS_SIZE - 1;
    [
        0,
        0x00af_9b00_0000_ffff,
        0x00cf_9300_0000_ffff,
        0x00af_fb00_0000_ffff,
        0x00cf_f300_0000_ffff,
        limit | ((tss & 0xff_ffff) << 16) | (0x8b << 40) | (((tss >> 24) & 0xff) << 56),
        tss >> 32,
    ]
}

const TSS_SIZE: u64 = 0x68;
/// Offset of the TSS in a vCPU's descriptor page.
const TSS_OFFSET: u64 = 0x100;
const TSS_RSP0: u64 = 4;
const TSS_IST1: u64 = 36;
const TSS_IST2: u64 = 44;
const TSS_IO_MAP: u64 = 102;

/// Write the page tables: identity, private below and shared above [`map::SHARED`], the rooms of
/// [`map::MOVING`], and windows to MMIO and to what is converted.
pub fn write_tables(memory: &GuestMemoryMmap, c_bit: u64) -> Result<()> {
    let link = PRESENT | WRITABLE | USER | c_bit;
    let entry = |table: u64, index: u64, value: u64| {
        memory.write_obj(value, GuestAddress(table + index * 8))
    };
    entry(PML4, 0, PDPT | link)?;
    entry(PDPT, 0, PD_LOW | link)?;
    entry(PDPT, map::MMIO_GVA >> 30, PD_MMIO | link)?;
    entry(PD_LOW, 0, map::PRIVATE | LARGE | link)?;
    let moving = map::MOVING..map::VIEWS[1] + map::MOVING_SIZE;
    let shared = map::SHARED..map::SHARED + map::SHARED_SIZE;
    for gpa in shared.chain(moving).step_by(LARGE_PAGE as usize) {
        entry(
            PD_LOW,
            gpa / LARGE_PAGE,
            gpa | LARGE | PRESENT | WRITABLE | USER,
        )?;
    }
    entry(PD_MMIO, 0, map::MMIO | LARGE | PRESENT | WRITABLE | USER)?;
    entry(PD_MMIO, 1, map::CONVERTED | LARGE | link)?;
    Ok(())
}

/// Write GDT and TSS of `vcpu`.
pub fn write_descriptors(memory: &GuestMemoryMmap, vcpu: u64) -> Result<()> {
    let base = map::DESCRIPTORS + vcpu * PAGE;
    let tss = base + TSS_OFFSET;
    for (index, value) in descriptors(tss).into_iter().enumerate() {
        memory.write_obj(value, GuestAddress(base + index as u64 * 8))?;
    }
    let top = exception_stack(vcpu);
    memory.write_obj(top, GuestAddress(tss + TSS_RSP0))?;
    memory.write_obj(top, GuestAddress(tss + TSS_IST1))?;
    // #VC has a stack of its own: the hypervisor may inject an exception into its handler.
    memory.write_obj(top - map::STACK_SIZE / 8, GuestAddress(tss + TSS_IST2))?;
    memory.write_obj(TSS_SIZE as u16, GuestAddress(tss + TSS_IO_MAP))?;
    Ok(())
}

fn exception_stack(vcpu: u64) -> u64 {
    map::STACKS + (vcpu + 1) * map::STACK_SIZE
}

fn stack(vcpu: u64) -> u64 {
    exception_stack(vcpu) - map::STACK_SIZE / 4
}

fn segment(selector: u16, type_: u8, long: bool) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        type_,
        present: 1,
        s: 1,
        l: u8::from(long),
        db: u8::from(!long),
        g: 1,
        ..Default::default()
    }
}

/// Set `sregs` to 64-bit mode on the tables above.
pub fn special_registers(sregs: &mut kvm_sregs, vcpu: u64, c_bit: u64) {
    let base = map::DESCRIPTORS + vcpu * PAGE;
    sregs.cr0 = CR0_PE | CR0_MP | CR0_NE | CR0_PG;
    sregs.cr3 = PML4 | c_bit;
    sregs.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE;
    sregs.efer = EFER_SCE | EFER_LME | EFER_LMA;
    sregs.cs = segment(KERNEL_CODE, 11, true);
    for data in [
        &mut sregs.ds,
        &mut sregs.es,
        &mut sregs.fs,
        &mut sregs.gs,
        &mut sregs.ss,
    ] {
        *data = segment(KERNEL_DATA, 3, false);
    }
    sregs.tr = kvm_segment {
        base: base + TSS_OFFSET,
        limit: TSS_SIZE as u32 - 1,
        selector: TASK,
        type_: 11,
        present: 1,
        ..Default::default()
    };
    sregs.gdt.base = base;
    sregs.gdt.limit = 7 * 8 - 1;
    // The guest makes its own IDT.
    sregs.idt.base = 0;
    sregs.idt.limit = 0;
}

/// First general registers: entered as a function whose argument is the mailbox.
pub fn registers(entry: u64, vcpu: u64) -> kvm_regs {
    kvm_regs {
        rip: entry,
        rsp: stack(vcpu) - 8,
        rdi: map::MAILBOXES + vcpu * PAGE,
        rflags: 2,
        ..Default::default()
    }
}
