// SPDX-License-Identifier: GPL-2.0

//! Livepatch relocations, by which a module reaches what the kernel, kvm.ko and kvm-amd.ko do not export to it.
//!
//! The livepatch loader resolves them. A symbol named `.klp.sym.<object>.<name>,0` in a section
//! `__klp_relocs.<object>` becomes a livepatch relocation when `objtool klp post-link` has run, and
//! the relocation is applied when kvm_amd is loaded and before any function of it is replaced. All
//! of them wait for kvm_amd, also those to kvm.ko, which kvm_amd needs and therefore follows; but for those to the kernel
//! proper, `vmlinux`, which are applied when this module is loaded.
//!
//! Each function is reached through a trampoline, one `jmp` whose target the loader fills in.
//!
//! Relocations name places by local labels: of a global one, objtool would take the addend, which is zero,
//! for the place.
//!
//! C header: `include/linux/livepatch_external.h`, tool: `tools/objtool/klp-post-link.c`.

/// The symbol that the livepatch loader resolves, quoted for the assembler.
macro_rules! klp_symbol {
    ($object:ident $name:ident) => {
        concat!(
            "\".klp.sym.",
            stringify!($object),
            ".",
            stringify!($name),
            ",0\""
        )
    };
}

/// The section, quoted for the assembler, of relocations to an object's symbols.
macro_rules! klp_section {
    (vmlinux) => {
        "__klp_relocs.vmlinux"
    };
    ($object:ident) => {
        "__klp_relocs.kvm_amd"
    };
}

/// Emits a trampoline `$prefix$name` to byte `$offset` of a function.
macro_rules! trampoline {
    ($object:ident $name:ident, $prefix:literal, $offset:literal) => {
        core::arch::global_asm!(
            ".pushsection .text",
            ".p2align 4",
            concat!(".globl ", $prefix, stringify!($name)),
            concat!(".type ", $prefix, stringify!($name), ", @function"),
            concat!(".weak ", klp_symbol!($object $name)),
            concat!($prefix, stringify!($name), ":"),
            concat!(".Lklp_", $prefix, stringify!($name), ": .byte 0xe9"),
            concat!(".reloc ., R_X86_64_PLT32, ", klp_symbol!($object $name), "-4+", $offset),
            ".long 0",
            "int3",
            concat!(".size ", $prefix, stringify!($name), ", . - ", $prefix, stringify!($name)),
            ".popsection",
            concat!(".pushsection ", klp_section!($object), ", \"a\", @progbits"),
            ".p2align 3",
            concat!(".quad .Lklp_", $prefix, stringify!($name), "+1"),
            concat!(".quad ", klp_symbol!($object $name), "-4+", $offset),
            ".long 4, 0", // R_X86_64_PLT32
            ".popsection",
            options(att_syntax),
        );
    };
}

/// Emits a pointer-sized slot `ghcb_rs_addr_$name` that will hold the address of a symbol.
macro_rules! slot {
    ($object:ident $name:ident) => {
        core::arch::global_asm!(
            ".pushsection .data",
            ".p2align 3",
            concat!(".globl ghcb_rs_addr_", stringify!($name)),
            concat!(".type ghcb_rs_addr_", stringify!($name), ", @object"),
            concat!(".size ghcb_rs_addr_", stringify!($name), ", 8"),
            concat!(".weak ", klp_symbol!($object $name)),
            concat!("ghcb_rs_addr_", stringify!($name), ":"),
            concat!(".Lklp_addr_", stringify!($name), ": .quad ", klp_symbol!($object $name)),
            ".popsection",
            concat!(".pushsection ", klp_section!($object), ", \"a\", @progbits"),
            ".p2align 3",
            concat!(".quad .Lklp_addr_", stringify!($name)),
            concat!(".quad ", klp_symbol!($object $name)),
            ".long 1, 0", // R_X86_64_64
            ".popsection",
            options(att_syntax),
        );
    };
}

/// Declares functions that are called: `object { fn name(argument: type, ...) -> type; ... }`.
///
/// Each becomes a function of its name.
macro_rules! called {
    ($($object:ident { $(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)* })*) => {
        $($(trampoline!($object $name, "ghcb_rs_", "0");)*)*
        #[expect(improper_ctypes, reason = "KVM's structures hold empty ones, which C never passes by value")]
        extern "C" {$($(
            #[link_name = concat!("ghcb_rs_", stringify!($name))]
            pub(crate) fn $name($($argument: $type),*) $(-> $result)?;
        )*)*}
    };
}

/// Declares functions that are replaced: as [`called!`].
///
/// Each becomes a function `c_<name>`, which goes on in the C function behind its entry, and a slot `<NAME>` in the module
/// `entry`, which holds its address; `entry::ALL` has all slots.
macro_rules! replaced {
    ($($object:ident { $(fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?;)* })*) => {
        $($(
            // Past ENDBR64 and the bytes that ftrace owns: `ENTRY_LENGTH`.
            trampoline!($object $name, "ghcb_rs_c_", "9");
            slot!($object $name);
        )*)*
        kernel::macros::paste! {
            #[expect(improper_ctypes, reason = "KVM's structures hold empty ones, which C never passes by value")]
            #[allow(dead_code, reason = "not every replacement goes on in the C function")]
            extern "C" {$($(
                #[link_name = concat!("ghcb_rs_c_", stringify!($name))]
                pub(crate) fn [<c_ $name>]($($argument: $type),*) $(-> $result)?;
            )*)*}

            /// Addresses of the functions that are replaced. The livepatch loader fills them in when kvm_amd is loaded, and
            /// clears them when kvm_amd is unloaded.
            #[allow(dead_code, reason = "some are found in `ALL` alone")]
            pub(crate) mod entry {
                extern "C" {$($(
                    #[link_name = concat!("ghcb_rs_addr_", stringify!($name))]
                    pub(crate) static [<$name:upper>]: *const u8;
                )*)*}

                /// All slots.
                pub(crate) const ALL: &[*const *const u8] = &[$($(&raw const [<$name:upper>]),*),*];
            }
        }
    };
}

/// Declares variables: `object { name: type; ... }`.
///
/// Each becomes a slot `<NAME>` in the module `address`, which holds its address.
macro_rules! variables {
    ($($object:ident { $($name:ident: $type:ty;)* })*) => {
        $($(slot!($object $name);)*)*
        kernel::macros::paste! {
            /// Addresses of variables. The livepatch loader fills them in when kvm_amd is loaded, and clears them at its unload;
            /// those of the kernel proper are always set.
            #[expect(improper_ctypes, reason = "the kernel's structures hold empty ones, which C never passes by value")]
            pub(crate) mod address {
                use super::super::bindings::*;

                extern "C" {$($(
                    #[link_name = concat!("ghcb_rs_addr_", stringify!($name))]
                    pub(crate) static [<$name:upper>]: *mut $type;
                )*)*}
            }
        }
    };
}

pub(crate) use {called, klp_section, klp_symbol, replaced, slot, trampoline, variables};
