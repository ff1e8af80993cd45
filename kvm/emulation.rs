// SPDX-License-Identifier: GPL-2.0

//! KVM's emulation: instructions, port I/O and MMIO.

use super::{bindings, buffer::Buffer, imports, KvmVcpu};
use crate::{
    ghcb_abi::{
        exit_code::ExitCode,
        reply::{Action, EventInjection},
    },
    vmgexit::{
        host::{Emulator, Fulfilment},
        request::context::Context,
        request::instruction::Emulation,
        request::mmio::MmioAccess,
        request::port_io::{PortAccess, StringTransfer},
        request::registers::Registers,
    },
};
use core::{mem::MaybeUninit, ptr};

impl KvmVcpu {
    /// One of the registers that KVM keeps for its emulation.
    #[inline]
    fn register(&self, index: u32) -> *mut u64 {
        // SAFETY: By the invariant. `index` is one of `VCPU_REGS_*`, all of which are in the array.
        unsafe {
            (&raw mut (*self.vcpu()).arch.regs)
                .cast::<u64>()
                .add(index as usize)
        }
    }

    /// RAX.
    pub(super) fn rax(&self) -> u64 {
        // SAFETY: The pointer is valid, and by the invariant nobody else uses it.
        unsafe { *self.register(bindings::__VCPU_REGS_RAX) }
    }

    /// Keeps RBX for the reply.
    pub(super) fn set_rbx(&mut self, value: u64) {
        // SAFETY: The pointer is valid, and by the invariant nobody else uses it.
        unsafe { *self.register(bindings::__VCPU_REGS_RBX) = value };
    }

    /// Hands registers to KVM's emulation.
    #[inline]
    pub(super) fn set_registers(&mut self, registers: &Registers) {
        for (index, value) in [
            (bindings::__VCPU_REGS_RAX, registers.rax),
            (bindings::__VCPU_REGS_RBX, registers.rbx),
            (bindings::__VCPU_REGS_RCX, registers.rcx),
            (bindings::__VCPU_REGS_RDX, registers.rdx),
            (bindings::__VCPU_REGS_RSI, registers.rsi),
        ] {
            // SAFETY: The pointer is valid, and by the invariant nobody else uses it.
            unsafe { *self.register(index) = value };
        }
    }

    /// Zeroes the registers that no request supplies, for hypercalls which read more of them.
    fn zero_other_registers(&mut self) {
        // SAFETY: The pointers are valid, and by the invariant nobody else uses them. R8 to R15 follow RDI, and are the
        // rest of the array.
        unsafe {
            *self.register(bindings::__VCPU_REGS_RSP) = 0;
            *self.register(bindings::__VCPU_REGS_RBP) = 0;
            *self.register(bindings::__VCPU_REGS_RDI) = 0;
            (self
                .register(bindings::__VCPU_REGS_RDI)
                .add(1)
                .cast::<[u64; 8]>())
            .write([0; 8]);
        }
    }

    /// Takes an exception that KVM's emulation queued for the guest: it goes into the reply, not into
    /// the guest's #VC handler.
    #[inline]
    fn take_exception(&mut self) -> Option<EventInjection> {
        // SAFETY: By the invariant, the queue is this task's alone.
        unsafe {
            let queued = &raw mut (*self.vcpu()).arch.exception;
            if !(*queued).pending {
                return None;
            }
            (*queued).pending = false;
            let code = (*queued).has_error_code.then_some((*queued).error_code);
            Some(EventInjection::exception((*queued).vector, code))
        }
    }

    /// Interprets what a function of KVM returned.
    #[inline]
    fn fulfilment(&mut self, result: i32) -> Fulfilment {
        match result {
            0 => Fulfilment::Userspace,
            1.. => match self.take_exception() {
                None => Fulfilment::Done,
                Some(event) => Fulfilment::Exception(event),
            },
            _ => Fulfilment::Error,
        }
    }

    /// Has KVM emulate an MSR access. C: `msr_interception()`.
    ///
    /// `svm_complete_emulated_msr()` reports a fault by writing into `sev_es.ghcb`. That is a save area
    /// on this stack for as long as the call lasts. If userspace decides later, a reply is pending, and a fault
    /// becomes [`End::Failed`](crate::vmgexit::host::End::Failed).
    #[inline(always)]
    fn emulate_msr(&mut self, is_wrmsr: bool) -> Fulfilment {
        let mut area = MaybeUninit::<bindings::ghcb_save_area>::uninit();
        let save = area.as_mut_ptr();
        // SAFETY: `save` is valid for writes. C writes the infos and sets bits of the bitmap, which nobody
        // reads. `sev_es.ghcb` is this task's alone and goes back to null before the save area dies.
        let (result, info1) = unsafe {
            (*save).sw_exit_info_1 = Action::NO_ACTION.0.into();
            (*self.svm()).sev_es.ghcb = save.cast();
            let result = if is_wrmsr {
                imports::kvm_emulate_wrmsr(self.vcpu())
            } else {
                imports::kvm_emulate_rdmsr(self.vcpu())
            };
            (*self.svm()).sev_es.ghcb = ptr::null_mut();
            (result, (&raw const (*save).sw_exit_info_1).read_volatile())
        };
        if result > 0 && info1 == u64::from(Action::ISSUE_EXCEPTION.0) {
            // SAFETY: C has written both infos.
            let info2 = unsafe { (&raw const (*save).sw_exit_info_2).read_volatile() };
            return Fulfilment::Exception(EventInjection(info2));
        }
        self.fulfilment(result)
    }
}

impl Emulator for KvmVcpu {
    #[inline(always)]
    fn set_context(&mut self, context: &Context) {
        // SAFETY: By the invariant, with pointers that are valid. KVM checks XCR0 and XSS itself.
        unsafe {
            (*self.vmcb()).__bindgen_anon_1.save.cpl = context.cpl;
            if let Some(xcr0) = context.xcr0 {
                if xcr0 != (*self.vcpu()).arch.xcr0 {
                    imports::__kvm_set_xcr(self.vcpu(), 0, xcr0);
                }
            }
            if let Some(xss) = context.xss {
                if xss != (*self.vcpu()).arch.ia32_xss {
                    imports::__kvm_emulate_msr_write(self.vcpu(), bindings::MSR_IA32_XSS, xss);
                }
            }
        }
    }

    #[inline(always)]
    fn emulate(&mut self, emulation: &Emulation) -> Fulfilment {
        self.set_registers(&emulation.registers);
        // The frequent ones without KVM's search for the handler of an intercept. C: `svm_exit_handlers[]`.
        // SAFETY: By the invariant.
        let result = unsafe {
            match emulation.instruction.exit_code() {
                ExitCode::CPUID => imports::kvm_emulate_cpuid(self.vcpu()),
                ExitCode::MSR => return self.emulate_msr(emulation.instruction.is_wrmsr()),
                ExitCode::VMMCALL => {
                    self.zero_other_registers();
                    imports::kvm_emulate_hypercall(self.vcpu())
                }
                exit_code => {
                    self.set_exit(exit_code, emulation.instruction.info1(), 0);
                    imports::svm_invoke_exit_handler(self.vcpu(), exit_code.0)
                }
            }
        };
        self.fulfilment(result)
    }

    #[inline]
    fn cpuid(&mut self, function: u32) -> Fulfilment {
        // SAFETY: By the invariant, with pointers that are valid; CPUID reads no other registers.
        let result = unsafe {
            *self.register(bindings::__VCPU_REGS_RAX) = function.into();
            *self.register(bindings::__VCPU_REGS_RCX) = 0;
            (*self.vmcb()).__bindgen_anon_1.save.cpl = 0;
            imports::kvm_emulate_cpuid(self.vcpu())
        };
        self.fulfilment(result)
    }

    #[inline]
    fn registers(&self) -> Registers {
        // SAFETY: The pointers are valid, and by the invariant nobody else writes.
        let register = |index| unsafe { *self.register(index) };
        Registers {
            rax: register(bindings::__VCPU_REGS_RAX),
            rbx: register(bindings::__VCPU_REGS_RBX),
            rcx: register(bindings::__VCPU_REGS_RCX),
            rdx: register(bindings::__VCPU_REGS_RDX),
            rsi: register(bindings::__VCPU_REGS_RSI),
        }
    }

    #[inline(always)]
    fn port_io(&mut self, access: &PortAccess) -> Fulfilment {
        // SAFETY: By the invariant; size and port are what an intercept reports. C: `io_interception()`.
        let result = unsafe {
            *self.register(bindings::__VCPU_REGS_RAX) = access.rax;
            (*self.vcpu()).stat.io_exits = (*self.vcpu()).stat.io_exits.wrapping_add(1);
            imports::kvm_fast_pio(
                self.vcpu(),
                access.size as i32,
                access.port,
                access.direction.is_in().into(),
            )
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn string_io(&mut self, transfer: &StringTransfer, data: &mut Buffer) -> Fulfilment {
        // SAFETY: By the invariant. The buffer holds `count` elements of `size` bytes, and outlives the
        // exit: `park()` keeps it when userspace does the rest. C: `sev_es_string_io()`.
        let result = unsafe {
            (*self.vcpu()).stat.io_exits = (*self.vcpu()).stat.io_exits.wrapping_add(1);
            imports::kvm_sev_es_string_io(
                self.vcpu(),
                transfer.size as u32,
                transfer.port.into(),
                data.as_mut_ptr(),
                transfer.count,
                transfer.direction.is_in().into(),
            )
        };
        self.fulfilment(result)
    }

    #[inline(always)]
    fn mmio(&mut self, access: &MmioAccess, data: &mut Buffer) -> Fulfilment {
        // SAFETY: By the invariant. The buffer holds `len` bytes, is not on the stack, and outlives the
        // exit: `park()` keeps it when userspace does the rest.
        let result = unsafe {
            imports::kvm_sev_es_mmio(
                self.vcpu(),
                !access.direction.is_in(),
                access.gpa,
                access.len,
                data.as_mut_ptr(),
            )
        };
        self.fulfilment(result)
    }
}
