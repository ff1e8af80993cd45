// SPDX-License-Identifier: GPL-2.0

//! Is this the processor, and are these the kernel and the modules of it, that this module was made for?

use super::{bindings, imports};
use core::arch::x86_64::{__cpuid, __cpuid_count};

/// Bytes of a build ID.
const ID_SIZE: usize = 20;

/// Build IDs of those whose private layouts and functions this module knows.
struct BuildIds {
    kvm_amd: [u8; ID_SIZE],
    kvm: [u8; ID_SIZE],
    vmlinux: [u8; ID_SIZE],
    /// The same for `modinfo`.
    modinfo: [u8; MODINFO_SIZE],
}

/// Bytes of their names and of two digits for each of their bytes.
const MODINFO_SIZE: usize =
    "kvm_amd_build_id=\0kvm_build_id=\0vmlinux_build_id=\0".len() + 3 * 2 * ID_SIZE;

/// Of the kvm-amd.ko that will be patched, of the kvm.ko beside it, and of the kernel that they are modules of.
const BUILD_IDS: BuildIds = include!(env!("GHCB_RS_IDENTITY"));

/// By which ghcb-check knows before the module is loaded what it was made for.
// Not `#[used]` alone, by which newer compilers put it into a section of its own.
#[link_section = ".modinfo"]
#[used(compiler)]
static MODINFO: [u8; MODINFO_SIZE] = BUILD_IDS.modinfo;

/// ELF note in front of a build ID: name size, descriptor size, NT_GNU_BUILD_ID, name.
const NOTE_HEADER: [u8; 16] = *b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0";

/// Bytes of a whole build-ID note.
const NOTE_SIZE: usize = NOTE_HEADER.len() + ID_SIZE;

/// CPUID function whose EAX names the encryption features.
const CPUID_ENCRYPTED_MEMORY: u32 = 0x8000_001f;

/// Bit of EAX: SEV-ES. Kernel: `X86_FEATURE_SEV_ES`.
const CPUID_EAX_SEV_ES: u32 = 1 << 3;

/// Whether this processor runs SEV-ES guests.
#[allow(unused_unsafe, reason = "a safe function for newer compilers")]
pub(crate) fn cpu_has_sev_es() -> bool {
    // SAFETY: Every 64-bit processor has CPUID.
    let highest = unsafe { __cpuid(0x8000_0000) }.eax;
    if highest < CPUID_ENCRYPTED_MEMORY || highest >> 31 == 0 {
        return false;
    }
    // SAFETY: As above, and the function exists.
    unsafe { __cpuid(CPUID_ENCRYPTED_MEMORY) }.eax & CPUID_EAX_SEV_ES != 0
}

/// Bit of EBX of CPUID function 7: supervisor-mode access prevention. Kernel: `X86_FEATURE_SMAP`.
const CPUID_EBX_SMAP: u32 = 1 << 20;

/// Whether this processor has the instructions STAC and CLAC.
#[allow(unused_unsafe, reason = "a safe function for newer compilers")]
pub(crate) fn cpu_has_smap() -> bool {
    // SAFETY: Every 64-bit processor has CPUID; those with SEV have function 7.
    unsafe { __cpuid_count(7, 0) }.ebx & CPUID_EBX_SMAP != 0
}

/// Whether this is another kernel than this module was built for.
///
/// One that was built again has the same version magic if its version is the same, and takes modules of the other.
pub(crate) fn is_other_kernel() -> bool {
    // SAFETY: The module's loader has filled the slot with the address of the variable, which is not written to any more.
    let id = unsafe {
        (&raw const imports::address::VMLINUX_BUILD_ID)
            .read_volatile()
            .read()
    };
    id != BUILD_IDS.vmlinux
}

/// The module that is another one than this module was built for, if there is one: its name.
///
/// A kvm that was built again loads beside the same kvm_amd if the version magic is the same.
///
/// # Safety
///
/// `kvm_amd` points to the kvm_amd whose loading the livepatch core tells of, with the relocations applied.
pub(crate) unsafe fn stranger(kvm_amd: *const bindings::module) -> Option<&'static str> {
    // SAFETY: The livepatch loader has filled the slot. kvm_amd needs kvm, which therefore stays.
    let kvm = unsafe { (&raw const imports::address::__THIS_MODULE).read_volatile() };
    // SAFETY: By the caller, and as above.
    unsafe {
        if !carries(kvm_amd, &BUILD_IDS.kvm_amd) {
            Some("kvm_amd")
        } else if !carries(kvm, &BUILD_IDS.kvm) {
            Some("kvm")
        } else {
            None
        }
    }
}

/// Whether `module` carries a build ID.
///
/// The note lies in the module's read-only data; the kernel keeps no other copy when
/// CONFIG_STACKTRACE_BUILD_ID is off.
///
/// # Safety
///
/// `module` points to a module whose memory is allocated and filled.
unsafe fn carries(module: *const bindings::module, id: &[u8; ID_SIZE]) -> bool {
    // SAFETY: The caller vouches for the module; the index is the kernel's own.
    let (base, size) = unsafe {
        let rodata = &raw const (*module).mem[bindings::GHCB_RS_MOD_RODATA as usize];
        ((*rodata).base.cast::<u8>(), (*rodata).size as usize)
    };
    if base.is_null() {
        return false;
    }
    // SAFETY: A loaded module's read-only data is `size` initialized bytes, which nobody writes.
    let data = unsafe { core::slice::from_raw_parts(base.cast_const(), size) };
    // Notes are aligned to four bytes.
    (0..size)
        .step_by(4)
        .filter_map(|at| data.get(at..)?.get(..NOTE_SIZE))
        .filter_map(|note| note.strip_prefix(&NOTE_HEADER))
        .any(|found| found == id)
}
