// SPDX-License-Identifier: GPL-2.0
//! What KVM_RUN left in `struct kvm_run`, copied out.

use kvm_bindings::{
    kvm_run, KVM_EXIT_AP_RESET_HOLD, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_HYPERCALL,
    KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR, KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MEMORY_FAULT,
    KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, KVM_EXIT_SYSTEM_EVENT, KVM_EXIT_X86_RDMSR,
    KVM_EXIT_X86_WRMSR,
};
use mailbox::device;

/// `KVM_EXIT_SNP_REQ_CERTS`, newer than kvm-bindings.
const KVM_EXIT_SNP_REQ_CERTS: u32 = 43;

/// `struct kvm_exit_snp_req_certs`.
#[repr(C)]
struct Certificates {
    gpa: u64,
    pages: u64,
    answer: u64,
}

/// `KVM_SYSTEM_EVENT_SEV_TERM`: the guest asked for its end.
pub const SYSTEM_EVENT_SEV_TERM: u32 = 6;

/// An exit to userspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Port I/O; `data` holds what an OUT wrote.
    Io {
        port: u16,
        size: u8,
        count: u32,
        out: bool,
        data: Vec<u8>,
    },
    /// MMIO; `data` holds what a write wrote.
    Mmio {
        gpa: u64,
        len: u32,
        write: bool,
        data: [u8; 8],
    },
    /// Access to an MSR that userspace serves; `data` is what a write wrote.
    Msr {
        index: u32,
        reason: u32,
        data: Option<u64>,
    },
    /// A system event with its data.
    SystemEvent { type_: u32, data: Vec<u64> },
    /// HLT without an interrupt controller in the kernel.
    Hlt,
    /// AP reset hold without an interrupt controller in the kernel.
    ApResetHold,
    /// Hypercall that userspace serves.
    Hypercall { nr: u64, args: [u64; 6] },
    /// The guest uses a page as private that is shared, or the other way; see KVM for the flags.
    MemoryFault { gpa: u64, size: u64, flags: u64 },
    /// The guest wants certificates in that many pages.
    Certificates { gpa: u64, pages: u64 },
    /// KVM could not go on.
    InternalError { suberror: u32 },
    /// VMRUN failed: the guest's state is not legal.
    FailEntry { reason: u64 },
    /// Triple fault.
    Shutdown,
    /// A signal came.
    Interrupted,
    /// KVM_RUN itself failed.
    Errno(i32),
    /// Any other reason.
    Other(u32),
}

impl Exit {
    /// Copy the exit out of `run`.
    ///
    /// # Safety
    ///
    /// `run` is the start of a vCPU's mapping, whole, after KVM_RUN returned.
    pub unsafe fn copy_from(run: &kvm_run) -> Self {
        let detail = &run.__bindgen_anon_1;
        match run.exit_reason {
            KVM_EXIT_IO => {
                // SAFETY: The exit reason says that this member is the one KVM wrote.
                let io = unsafe { detail.io };
                let out = u32::from(io.direction) == KVM_EXIT_IO_OUT;
                let data = if out {
                    // SAFETY: By the contract of this function.
                    unsafe { io_data(run) }.to_vec()
                } else {
                    Vec::new()
                };
                Self::Io {
                    port: io.port,
                    size: io.size,
                    count: io.count,
                    out,
                    data,
                }
            }
            KVM_EXIT_MMIO => {
                // SAFETY: As above.
                let mmio = unsafe { detail.mmio };
                let write = mmio.is_write != 0;
                let mut data = [0; 8];
                if write {
                    let len = (mmio.len as usize).min(data.len());
                    data[..len].copy_from_slice(&mmio.data[..len]);
                }
                Self::Mmio {
                    gpa: mmio.phys_addr,
                    len: mmio.len,
                    write,
                    data,
                }
            }
            KVM_EXIT_SYSTEM_EVENT => {
                // SAFETY: As above; all members of the nested union are words.
                let (event, data) = unsafe {
                    let event = detail.system_event;
                    (event, event.__bindgen_anon_1.data)
                };
                let count = (event.ndata as usize).min(data.len());
                Self::SystemEvent {
                    type_: event.type_,
                    data: data[..count].to_vec(),
                }
            }
            reason @ (KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR) => {
                // SAFETY: As above.
                let msr = unsafe { detail.msr };
                Self::Msr {
                    index: msr.index,
                    reason: msr.reason,
                    data: (reason == KVM_EXIT_X86_WRMSR).then_some(msr.data),
                }
            }
            KVM_EXIT_HYPERCALL => {
                // SAFETY: As above.
                let call = unsafe { detail.hypercall };
                Self::Hypercall {
                    nr: call.nr,
                    args: call.args,
                }
            }
            KVM_EXIT_MEMORY_FAULT => {
                // SAFETY: As above.
                let fault = unsafe { detail.memory_fault };
                Self::MemoryFault {
                    gpa: fault.gpa,
                    size: fault.size,
                    flags: fault.flags,
                }
            }
            KVM_EXIT_SNP_REQ_CERTS => {
                // SAFETY: As above; the union is larger than what KVM wrote.
                let wanted = unsafe { &*std::ptr::from_ref(detail).cast::<Certificates>() };
                Self::Certificates {
                    gpa: wanted.gpa,
                    pages: wanted.pages,
                }
            }
            KVM_EXIT_INTERNAL_ERROR => Self::InternalError {
                // SAFETY: As above.
                suberror: unsafe { detail.internal.suberror },
            },
            KVM_EXIT_FAIL_ENTRY => Self::FailEntry {
                // SAFETY: As above.
                reason: unsafe { detail.fail_entry.hardware_entry_failure_reason },
            },
            KVM_EXIT_HLT => Self::Hlt,
            KVM_EXIT_AP_RESET_HOLD => Self::ApResetHold,
            KVM_EXIT_SHUTDOWN => Self::Shutdown,
            KVM_EXIT_INTR => Self::Interrupted,
            other => Self::Other(other),
        }
    }

    /// Whether the guest asked for its end.
    pub fn is_termination(&self) -> bool {
        matches!(
            self,
            Self::SystemEvent {
                type_: SYSTEM_EVENT_SEV_TERM,
                ..
            }
        )
    }
}

/// The data of a port I/O exit.
///
/// # Safety
///
/// `run` is the start of a vCPU's mapping, whole, after an exit for port I/O.
unsafe fn io_data(run: &kvm_run) -> &[u8] {
    // SAFETY: By the contract; KVM keeps offset and length inside the mapping.
    unsafe {
        let io = run.__bindgen_anon_1.io;
        std::slice::from_raw_parts(
            std::ptr::from_ref(run)
                .cast::<u8>()
                .add(io.data_offset as usize),
            usize::from(io.size) * io.count as usize,
        )
    }
}

/// Answer the exit in `run`: the bytes of an IN, the data of an MMIO read, the value of an MSR or its error, what a
/// hypercall returns.
///
/// # Safety
///
/// As for [`Exit::copy_from`].
pub unsafe fn answer(run: &mut kvm_run) {
    let base = std::ptr::from_mut(run);
    match run.exit_reason {
        KVM_EXIT_IO => {
            // SAFETY: By the contract; KVM keeps offset and length inside the mapping.
            let (io, data) = unsafe {
                let io = run.__bindgen_anon_1.io;
                let data = std::slice::from_raw_parts_mut(
                    base.cast::<u8>().add(io.data_offset as usize),
                    usize::from(io.size) * io.count as usize,
                );
                (io, data)
            };
            if u32::from(io.direction) != KVM_EXIT_IO_OUT {
                for (offset, byte) in data.iter_mut().enumerate() {
                    *byte = device::port_byte(io.port, offset);
                }
            }
        }
        KVM_EXIT_MMIO => {
            // SAFETY: The exit reason says that this member is the one KVM wrote.
            let mmio = unsafe { &mut run.__bindgen_anon_1.mmio };
            if mmio.is_write == 0 {
                let gpa = mmio.phys_addr;
                for (offset, byte) in mmio.data.iter_mut().enumerate() {
                    *byte = device::mmio_byte(gpa.wrapping_add(offset as u64));
                }
            }
        }
        KVM_EXIT_X86_RDMSR | KVM_EXIT_X86_WRMSR => {
            // SAFETY: As above.
            let msr = unsafe { &mut run.__bindgen_anon_1.msr };
            msr.error = u8::from(device::fails_msr(msr.index));
            if run.exit_reason == KVM_EXIT_X86_RDMSR {
                msr.data = device::msr_value(msr.index);
            }
        }
        KVM_EXIT_HYPERCALL => {
            // SAFETY: As above.
            let call = unsafe { &mut run.__bindgen_anon_1.hypercall };
            call.ret = device::hypercall_value(call.args[1]);
        }
        _ => {}
    }
}

/// Answer the hypercall in `run` with `result`.
pub fn set_hypercall_result(run: &mut kvm_run, result: u64) {
    run.__bindgen_anon_1.hypercall.ret = result;
}

/// Answer the request for certificates in `run` with `answer`, and the number of pages that they take.
pub fn answer_certificates(run: &mut kvm_run, answer: u64, pages: u64) {
    let detail = std::ptr::from_mut(&mut run.__bindgen_anon_1).cast::<Certificates>();
    // SAFETY: The union is larger, and any bytes make a value of each member.
    unsafe {
        (*detail).pages = pages;
        (*detail).answer = answer;
    }
}
