// SPDX-License-Identifier: GPL-2.0

//! Where measurements of a VMGEXIT handler begin: a handler that does nothing.
//!
//! Replaces `sev_handle_vmgexit()` by a function that returns at once or, with `emulate=1`, has KVM carry
//! out what bits 12 to 63 of the GHCB MSR say, without a look at the page. **Guests get no replies**: load
//! it under the guest of `benches/emulated` alone.
//!
//! The function's ftrace entry becomes one jump to the replacement, so that the way in costs next to
//! nothing. A livepatch of a function that is called when a vCPU is freed does what is needed around that:
//! it waits for kvm_amd, resolves its symbols, and takes part in unloading.

#[path = "../../kvm/bindings.rs"]
mod bindings;
#[path = "../../kvm/relocation.rs"]
#[expect(unused_imports, unused_macros, reason = "made for the module; no variable is needed here")]
mod relocation;

use bindings::{ftrace_ops, klp_func, klp_object, klp_patch, kvm_vcpu, vcpu_svm};
use core::{borrow::Borrow, cell::UnsafeCell, ffi::CStr, mem};
use kernel::{
    error::to_result,
    ffi::{c_int, c_uint, c_ulong, c_void},
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{Atomic, Relaxed},
};
use relocation::{called, klp_section, klp_symbol, replaced, slot, trampoline};

module! {
    type: GhcbFloor,
    name: "ghcb_floor",
    authors: ["The ghcb_rs maintainers"],
    description: "A VMGEXIT handler that does nothing, to measure from",
    license: "GPL",
    params: {
        emulate: u8 {
            default: 0,
            description: "Return at once (0), or have KVM emulate what the GHCB MSR names (1)",
        },
    },
}

// In the module's information: without it the loader accepts no livepatch relocation. Not a static with `#[used]`, which newer
// compilers put into a section of its own.
core::arch::global_asm!(
    ".pushsection .modinfo, \"a\", @progbits",
    ".asciz \"livepatch=Y\"",
    ".popsection"
);

replaced! {
    kvm_amd {
        fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int;
        fn sev_free_vcpu(vcpu: *mut kvm_vcpu);
    }
}

called! {
    kvm_amd {
        fn svm_invoke_exit_handler(vcpu: *mut kvm_vcpu, exit_code: u64) -> c_int;
    }
    kvm {
        fn kvm_sev_es_mmio(vcpu: *mut kvm_vcpu, is_write: bool, gpa: u64, bytes: c_uint, data: *mut c_void) -> c_int;
        fn kvm_sev_es_string_io(
            vcpu: *mut kvm_vcpu, size: c_uint, port: c_uint, data: *mut c_void, count: c_uint, is_in: c_int,
        ) -> c_int;
        fn kvm_read_l1_tsc(vcpu: *mut kvm_vcpu, host_tsc: u64) -> u64;
    }
}

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    fn klp_enable_patch(patch: *mut klp_patch) -> c_int;
    fn ftrace_set_filter_ip(
        ops: *mut ftrace_ops,
        ip: c_ulong,
        remove: c_int,
        reset: c_int,
    ) -> c_int;
    fn register_ftrace_direct(ops: *mut ftrace_ops, address: c_ulong) -> c_int;
    fn unregister_ftrace_direct(ops: *mut ftrace_ops, address: c_ulong, free: bool) -> c_int;
    fn synchronize_rcu_tasks();
}

/// Replaces `sev_handle_vmgexit()`: the floor.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn nothing(_vcpu: *mut kvm_vcpu) -> c_int {
    1
}

/// How often the exit that is being measured still goes to userspace.
static EXITS: Atomic<i32> = Atomic::new(0);

/// Goes to userspace, as often as [`EXITS`] says, and then back to the guest.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn leave(vcpu: *mut kvm_vcpu) -> c_int {
    let left = EXITS.load(Relaxed);
    if left <= 0 {
        return 1;
    }
    EXITS.store(left.wrapping_sub(1), Relaxed);
    // SAFETY: By the caller, the vCPU's fields are this task's alone, and `kvm_run` is mapped for as long as it exists.
    unsafe {
        (*(*vcpu).run).exit_reason = bindings::KVM_EXIT_HYPERCALL;
        (*vcpu).arch.complete_userspace_io = Some(leave);
    }
    0
}

/// Data of I/O, which means nothing.
static DATA: Shared<[u64; 512]> = Shared(UnsafeCell::new([0; 512]));

/// Replaces `sev_handle_vmgexit()`: what KVM's emulation of the event costs. The numbers are those of
/// `benches/emulated/program/src/event.rs`.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn emulation(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, whose VMCB and registers are this task's alone.
    // Only the single vCPU of a measurement uses the data.
    unsafe {
        let svm = vcpu.cast::<vcpu_svm>();
        let control = &raw mut (*(*svm).vmcb).control;
        let msr = (*control).ghcb_gpa;
        let operand = msr >> 20 & 0xffff_ffff;
        let length = (msr >> 52) as c_uint;
        let data = DATA.0.get().cast();
        let regs = (&raw mut (*vcpu).arch.regs).cast::<c_ulong>();
        let register = |number: c_uint| &mut *regs.add(number as usize);
        match msr >> 12 & 0xff {
            1 => {
                *register(bindings::__VCPU_REGS_RAX) = 0;
                *register(bindings::__VCPU_REGS_RCX) = 0;
                svm_invoke_exit_handler(vcpu, bindings::SVM_EXIT_CPUID.into())
            }
            access @ (2 | 3) => {
                *register(bindings::__VCPU_REGS_RCX) = operand as c_ulong;
                *register(bindings::__VCPU_REGS_RAX) = 6;
                *register(bindings::__VCPU_REGS_RDX) = 0;
                (*control).exit_info_1 = access - 2;
                svm_invoke_exit_handler(vcpu, bindings::SVM_EXIT_MSR.into())
            }
            4 => {
                (*control).exit_info_1 = operand;
                svm_invoke_exit_handler(vcpu, bindings::SVM_EXIT_IOIO.into())
            }
            5 => {
                let (port, is_in) = ((operand >> 16) as c_uint, (operand & 1) as c_int);
                kvm_sev_es_string_io(vcpu, 1, port, data, length, is_in)
            }
            6 => {
                *register(bindings::__VCPU_REGS_RAX) =
                    kvm_read_l1_tsc(vcpu, core::arch::x86_64::_rdtsc()) as c_ulong;
                1
            }
            access @ (7 | 8) => {
                kvm_sev_es_mmio(vcpu, access == 8, operand, length, data)
            }
            9 => {
                *register(bindings::__VCPU_REGS_RAX) = operand as c_ulong;
                *register(bindings::__VCPU_REGS_RBX) = 0;
                *register(bindings::__VCPU_REGS_RCX) = 1;
                *register(bindings::__VCPU_REGS_RDX) = 0;
                svm_invoke_exit_handler(vcpu, bindings::SVM_EXIT_VMMCALL.into())
            }
            10 => {
                EXITS.store(length as i32, Relaxed);
                leave(vcpu)
            }
            _ => 1,
        }
    }
}

/// The replacement.
fn replacement() -> c_ulong {
    let function: unsafe extern "C" fn(*mut kvm_vcpu) -> c_int = if EMULATE.load(Relaxed) != 0 {
        emulation
    } else {
        nothing
    };
    // Bit 0 asks ftrace for a jump in place of a call.
    function as c_ulong | 1
}

static EMULATE: Atomic<i32> = Atomic::new(0);

static OPS: Shared<ftrace_ops> = Shared(UnsafeCell::new(zeroed()));

/// Where the five bytes that ftrace owns lie in a function, behind ENDBR64.
const FENTRY_OFFSET: usize = 4;

/// Passes on, so that there is a function to livepatch.
///
/// # Safety
///
/// As for the original.
unsafe extern "C" fn sev_free_vcpu(vcpu: *mut kvm_vcpu) {
    // SAFETY: The argument is that of the original.
    unsafe { c_sev_free_vcpu(vcpu) };
}

/// Puts the replacement in place.
///
/// # Safety
///
/// Called by the livepatch core, with the relocations applied.
unsafe extern "C" fn post_patch(_object: *mut klp_object) {
    // SAFETY: The livepatch loader has filled the slot. The core calls this once before `pre_unpatch()`.
    let result = unsafe {
        let function = (&raw const entry::SEV_HANDLE_VMGEXIT).read_volatile();
        let ip = function as usize + FENTRY_OFFSET;
        match ftrace_set_filter_ip(OPS.0.get(), ip, 0, 0) {
            0 => register_ftrace_direct(OPS.0.get(), replacement()),
            error => error,
        }
    };
    if result != 0 {
        pr_err!("sev_handle_vmgexit() is not replaced: {result}\n");
    }
}

/// Takes the replacement away.
///
/// # Safety
///
/// Called by the livepatch core, with the relocations applied.
unsafe extern "C" fn pre_unpatch(_object: *mut klp_object) {
    // SAFETY: `post_patch()` ran before. The measured guest is gone by now, so that no task is inside the
    // replacement; the wait covers those on their way into it.
    unsafe {
        unregister_ftrace_direct(OPS.0.get(), replacement(), true);
        synchronize_rcu_tasks();
    }
}

/// A structure that the kernel owns from registration on.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: After registration only the kernel touches the contents, under its own locks; for `DATA` see there.
unsafe impl<T> Sync for Shared<T> {}

/// All zero, as C's static initializers leave what they do not name.
const fn zeroed<T>() -> T {
    // SAFETY: Used for structures of the kernel alone, which are integers, raw pointers and options of
    // function pointers.
    unsafe { mem::zeroed() }
}

static FUNCTIONS: Shared<[klp_func; 2]> = Shared(UnsafeCell::new({
    const NAME: &CStr = c"sev_free_vcpu";
    let mut func: klp_func = zeroed();
    func.old_name = as_char_ptr_in_const_context(NAME).cast();
    func.new_func = sev_free_vcpu as *mut c_void;
    [func, zeroed()]
}));

static OBJECTS: Shared<[klp_object; 2]> = Shared(UnsafeCell::new({
    const NAME: &CStr = c"kvm_amd";
    let mut object: klp_object = zeroed();
    object.name = as_char_ptr_in_const_context(NAME).cast();
    object.funcs = FUNCTIONS.0.get().cast();
    object.callbacks.post_patch = Some(post_patch);
    object.callbacks.pre_unpatch = Some(pre_unpatch);
    [object, zeroed()]
}));

static PATCH: Shared<klp_patch> = Shared(UnsafeCell::new({
    let mut patch: klp_patch = zeroed();
    patch.objs = OBJECTS.0.get().cast();
    patch
}));

/// The value of a module parameter, of which the kernel crate returns a copy or a reference.
fn value_of(parameter: impl Borrow<u8>) -> c_int {
    c_int::from(*parameter.borrow())
}

/// The loaded module.
struct GhcbFloor;

impl kernel::Module for GhcbFloor {
    fn init(module: &'static ThisModule) -> Result<Self> {
        EMULATE.store(value_of(module_parameters::emulate.value()), Relaxed);
        // SAFETY: The structures live as long as the module, and the core has not seen them yet.
        let result = unsafe {
            (*PATCH.0.get()).mod_ = module.as_ptr().cast();
            klp_enable_patch(PATCH.0.get())
        };
        to_result(result)?;
        Ok(Self)
    }
}
