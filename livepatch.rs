// SPDX-License-Identifier: GPL-2.0

//! The way in: a livepatch that replaces functions of the stock kvm_amd, and gives them back.
//!
//! The kernel's livepatch core does the hard part. Each task changes over when neither the original nor
//! the replacement is on its stack, kvm_amd may be loaded and unloaded under the patch, and the module
//! cannot be removed before every task has changed back.

use crate::ghcb_abi::reply::Action;
use crate::{
    kvm::{
        bindings::{self, klp_func, klp_object, klp_patch, kvm_vcpu, vcpu_svm},
        identity, imports, KvmVcpu,
    },
    observe,
    vmgexit::{self, kind::Kind},
};
use core::{cell::UnsafeCell, ffi::CStr, hint::black_box, mem, ptr::NonNull};
use kernel::{
    error::to_result,
    ffi::{c_int, c_void},
    prelude::*,
    str::as_char_ptr_in_const_context,
    sync::atomic::{Atomic, Relaxed},
};

#[expect(
    improper_ctypes,
    reason = "the kernel's structures hold empty ones, which C never passes by value"
)]
extern "C" {
    /// C: `include/linux/livepatch.h`.
    fn klp_enable_patch(patch: *mut klp_patch) -> c_int;
}

/// `livepatch=Y` in the module's information: without it the loader accepts no livepatch relocation.
#[link_section = ".modinfo"]
#[used]
static MODINFO: [u8; 12] = *b"livepatch=Y\0";

/// Name of the module that is patched.
const OBJECT: &CStr = c"kvm_amd";

/// Whether VMGEXITs are answered here; if not, each goes on to C, counted.
static ACTIVE: Atomic<i32> = Atomic::new(1);

/// Replaces `sev_handle_vmgexit()`.
///
/// # Safety
///
/// As for the original: called by KVM for the vCPU of an SEV-ES guest that executed VMGEXIT.
unsafe extern "C" fn sev_handle_vmgexit(vcpu: *mut kvm_vcpu) -> c_int {
    // SAFETY: The vCPU is the first member of a `vcpu_svm`, and KVM calls with what `KvmVcpu` wants.
    let result = match unsafe { take(vcpu.cast(), true) } {
        Some(mut vcpu) => vmgexit::handle(&mut vcpu).to_kvm(),
        // SAFETY: The arguments are those of the original.
        None => unsafe { imports::c_sev_handle_vmgexit(vcpu) },
    };
    // Keep this frame on the stack of a task that sleeps further down: the livepatch core looks for it.
    black_box(result)
}

/// Replaces `sev_es_unmap_ghcb()`.
///
/// # Safety
///
/// As for the original: called by KVM before the vCPU of an SEV-ES guest runs.
unsafe extern "C" fn sev_es_unmap_ghcb(svm: *mut vcpu_svm) {
    // SAFETY: KVM calls with what `KvmVcpu` wants.
    match unsafe { take(svm, false) } {
        Some(mut vcpu) => vmgexit::complete(&mut vcpu),
        // SAFETY: The argument is that of the original.
        None => unsafe { imports::c_sev_es_unmap_ghcb(svm) },
    }
    black_box(());
}

/// The vCPU, if its exits are answered here. Counts the others when `is_exit`.
///
/// # Safety
///
/// As for [`KvmVcpu::new`].
#[inline]
unsafe fn take(svm: *mut vcpu_svm, is_exit: bool) -> Option<KvmVcpu> {
    // SAFETY: The caller vouches for it.
    let vcpu = unsafe { KvmVcpu::new(NonNull::new(svm)?) };
    let reason = if vcpu.is_snp() {
        Kind::SnpGuest
    } else if ACTIVE.load(Relaxed) == 0 {
        Kind::StoodAside
    } else {
        return Some(vcpu);
    };
    if is_exit {
        observe::count(reason, Action::NO_ACTION);
    }
    None
}

/// Called before kvm_amd is patched, when it is there or when it comes. An error refuses the patch, or
/// the loading of kvm_amd.
///
/// # Safety
///
/// Called by the livepatch core, with the relocations applied.
unsafe extern "C" fn pre_patch(object: *mut klp_object) -> c_int {
    // SAFETY: The core has found the module; it cannot go before the callback returns.
    let is_expected = unsafe { identity::is_expected((*object).mod_) };
    if !is_expected {
        pr_err!(
            "this kvm_amd is not the one that the module was built for: rebuild ghcb_rs for it\n"
        );
        return EINVAL.to_errno();
    }
    // SAFETY: The livepatch loader has filled the slots with the addresses of functions of kvm_amd.
    let entries = unsafe {
        [
            (&raw const imports::address::SEV_HANDLE_VMGEXIT).read_volatile(),
            (&raw const imports::address::SEV_ES_UNMAP_GHCB).read_volatile(),
        ]
    };
    for entry in entries {
        // SAFETY: A function of kvm_amd is longer than its entry.
        if !unsafe { is_traced(entry) } {
            pr_err!("a function of kvm_amd has no ftrace entry, so it cannot be replaced\n");
            return EINVAL.to_errno();
        }
    }
    0
}

/// Whether a function has room for ftrace where [`imports`] expects it, used or not.
///
/// # Safety
///
/// `entry` points to at least [`imports::ENTRY_LENGTH`] bytes of code.
unsafe fn is_traced(entry: *const u8) -> bool {
    const NOP5: [u8; 5] = [0x0f, 0x1f, 0x44, 0x00, 0x00];
    const CALL: u8 = 0xe8;
    const JMP: u8 = 0xe9;
    // SAFETY: The caller vouches for it. Patching of code may change the bytes at any moment, but only
    // from one of these instructions to another.
    let bytes = unsafe {
        entry
            .add(imports::FENTRY_OFFSET)
            .cast::<[u8; 5]>()
            .read_volatile()
    };
    bytes == NOP5 || matches!(bytes, [CALL | JMP, ..])
}

/// A structure that belongs to the livepatch core from registration on.
#[repr(transparent)]
struct Shared<T>(UnsafeCell<T>);

// SAFETY: After `klp_enable_patch()` only the livepatch core touches the contents, under its own lock.
unsafe impl<T> Sync for Shared<T> {}

/// All zero, as C's static initializers leave what they do not name.
const fn zeroed<T>() -> T {
    // SAFETY: Used for structures of the livepatch core alone, which are integers, raw pointers and
    // options of function pointers.
    unsafe { mem::zeroed() }
}

/// A function and its replacement.
const fn function(name: &'static CStr, replacement: *mut c_void) -> klp_func {
    let mut func: klp_func = zeroed();
    func.old_name = as_char_ptr_in_const_context(name).cast();
    func.new_func = replacement;
    func
}

static FUNCTIONS: Shared<[klp_func; 3]> = Shared(UnsafeCell::new([
    function(c"sev_handle_vmgexit", sev_handle_vmgexit as *mut c_void),
    function(c"sev_es_unmap_ghcb", sev_es_unmap_ghcb as *mut c_void),
    zeroed(),
]));

static OBJECTS: Shared<[klp_object; 2]> = Shared(UnsafeCell::new({
    let mut object: klp_object = zeroed();
    object.name = as_char_ptr_in_const_context(OBJECT).cast();
    object.funcs = FUNCTIONS.0.get().cast();
    object.callbacks.pre_patch = Some(pre_patch);
    [object, zeroed()]
}));

static PATCH: Shared<klp_patch> = Shared(UnsafeCell::new({
    let mut patch: klp_patch = zeroed();
    patch.objs = OBJECTS.0.get().cast();
    patch
}));

/// Says whether VMGEXITs are answered here or go on to C.
pub(crate) fn set_active(active: bool) {
    ACTIVE.store(active.into(), Relaxed);
}

/// Registers and enables the livepatch. May be called once, from the module's initialization.
pub(crate) fn enable(module: &'static ThisModule) -> Result {
    // SAFETY: The structures live as long as the module, and the core has not seen them yet.
    let result = unsafe {
        (*PATCH.0.get()).mod_ = module.as_ptr().cast::<bindings::module>();
        klp_enable_patch(PATCH.0.get())
    };
    to_result(result).inspect_err(|error| {
        pr_err!("the kernel's livepatch core refused the patch of kvm_amd ({error:?}): see the lines above\n");
    })
}
