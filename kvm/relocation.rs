// SPDX-License-Identifier: GPL-2.0

//! Livepatch relocations, by which a module reaches what kvm.ko and kvm-amd.ko do not export to it.
//!
//! The livepatch loader resolves them. A symbol named `.klp.sym.<object>.<name>,0` in a section
//! `__klp_relocs.<object>` becomes a livepatch relocation when `objtool klp post-link` has run, and
//! the relocation is applied when kvm_amd is loaded and before any function of it is replaced. All
//! of them wait for kvm_amd, also those to kvm.ko, which kvm_amd needs and therefore follows.
//!
//! Each function is reached through a trampoline, one `jmp` whose target the loader fills in.
//!
//! Relocations name places by local labels: of a global one, objtool would take the addend, which is zero,
//! for the place.
//!
//! C header: `include/linux/livepatch_external.h`, tool: `tools/objtool/klp-post-link.c`.

/// Emits trampolines: `"object" "symbol" as "name", offset;`.
macro_rules! functions {
    ($($object:literal $symbol:literal as $name:literal, $offset:literal;)*) => {$(
        core::arch::global_asm!(
            ".pushsection .text",
            ".p2align 4",
            concat!(".globl ", $name),
            concat!(".type ", $name, ", @function"),
            concat!(".weak \".klp.sym.", $object, ".", $symbol, ",0\""),
            concat!($name, ":"),
            concat!(".Lklp_", $name, ": .byte 0xe9"),
            concat!(".reloc ., R_X86_64_PLT32, \".klp.sym.", $object, ".", $symbol, ",0\"-4+", $offset),
            ".long 0",
            "int3",
            concat!(".size ", $name, ", . - ", $name),
            ".popsection",
            ".pushsection __klp_relocs.kvm_amd, \"a\", @progbits",
            ".p2align 3",
            concat!(".quad .Lklp_", $name, "+1"),
            concat!(".quad \".klp.sym.", $object, ".", $symbol, ",0\"-4+", $offset),
            ".long 4, 0", // R_X86_64_PLT32
            ".popsection",
            options(att_syntax),
        );
    )*};
}

/// Emits pointer-sized slots that will hold the address of a symbol: `"object" "symbol" as "name";`.
macro_rules! addresses {
    ($($object:literal $symbol:literal as $name:literal;)*) => {$(
        core::arch::global_asm!(
            ".pushsection .data",
            ".p2align 3",
            concat!(".globl ", $name),
            concat!(".type ", $name, ", @object"),
            concat!(".size ", $name, ", 8"),
            concat!(".weak \".klp.sym.", $object, ".", $symbol, ",0\""),
            concat!($name, ":"),
            concat!(".Lklp_", $name, ": .quad \".klp.sym.", $object, ".", $symbol, ",0\""),
            ".popsection",
            ".pushsection __klp_relocs.kvm_amd, \"a\", @progbits",
            ".p2align 3",
            concat!(".quad .Lklp_", $name),
            concat!(".quad \".klp.sym.", $object, ".", $symbol, ",0\""),
            ".long 1, 0", // R_X86_64_64
            ".popsection",
            options(att_syntax),
        );
    )*};
}

pub(crate) use {addresses, functions};
