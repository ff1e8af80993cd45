// SPDX-License-Identifier: GPL-2.0

//! The Guest-Hypervisor Communication Block (GHCB) protocol of AMD SEV-ES and SEV-SNP.
//!
//! A guest whose registers are encrypted asks its hypervisor for help through one page that both
//! share, or through one MSR when it has no such page yet. This module holds what the two sides
//! agree on: the layout of the page, the codes and operands of every non-automatic exit (NAE) event,
//! the MSR protocol, and the replies. It decides nothing: policy belongs to the caller.
//!
//! Four rules hold throughout:
//!
//! - **One look.** Shared memory is reached through [`page::SharedPage`] alone, one volatile access at a
//!   time. No reference to it exists. A [`snapshot::Snapshot`] is filled once and never refreshed.
//! - **Open numbers.** What the other side chooses stays representable: an [`exit_code::ExitCode`] holds
//!   any `u64`, and a match over it needs a default arm.
//! - **Total.** Decoding accepts every value; nothing here panics on outside data.
//! - **`core` only**, without `unsafe` and without allocation.
//!
//! To add an event, add its row to the table in [`event`].
//!
//! Who knows the protocol from `ghcb.c` and `ghcb.h` of OpenBSD's vmm(4) finds all of it here:
//!
//! | there | here |
//! |---|---|
//! | `struct ghcb_sa` | [`page::Field`], [`page::Qword`] and the offsets in [`page`]; `v_sharedbuf`: [`page::BufferRange`] |
//! | a pointer to `struct ghcb_sa` | [`page::SharedPage`] for a guest, [`page::GuestPage`] for a host |
//! | `GHCB_RAX` and the other positions, `GHCB_IDX`, `GHCB_BIT`, `GHCB_MAX` | [`page::Field`], [`Field::index`](page::Field::index): always inside the bitmap |
//! | `valid_bitmap`, `GHCB_VB_SZ` | [`bitmap::ValidBitmap`] |
//! | `GHCB_SZ8`, `GHCB_SZ16`, `GHCB_SZ32`, `GHCB_SZ64` | [`guest::OperandSize`] |
//! | `ghcb_sz_masks` | [`OperandSize::mask`](guest::OperandSize::mask) |
//! | `ghcb_sz_clear_masks` | [`OperandSize::merge`](guest::OperandSize::merge) |
//! | `struct ghcb_sync` | [`guest::Sync`] |
//! | `struct ghcb_extra_regs` | [`exit_info::ExitInfo`], and the scratch address in [`guest::Registers`] |
//! | `ghcb_clear` | [`guest::clear`], [`guest::clear_save_area`] |
//! | `ghcb_valbm_set`, `ghcb_valbm_isset` | [`ValidBitmap::insert`](bitmap::ValidBitmap::insert), [`contains`](bitmap::ValidBitmap::contains) |
//! | `ghcb_valid` | [`ValidBitmap::is_exit`](bitmap::ValidBitmap::is_exit) |
//! | `ghcb_verify_bm`, which returns zero if all is well and looks at ten fields | [`ValidBitmap::is_superset_of`](bitmap::ValidBitmap::is_superset_of), which is true if all is well and looks at all 128 bits |
//! | `ghcb_sync_val` | [`guest::Sync::sized`], [`guest::Sync::whole`] |
//! | `ghcb_sync_out` | [`guest::copy_out`] |
//! | `ghcb_sync_in` | [`guest::copy_in`] |
//! | `MSR_PROTO_CPUID_REQ` and the others | [`msr::MsrInfo`], [`msr::MsrRequest`], [`msr::MsrResponse`] |
//! | `v_ghcb_gpa` of the VMCB | [`msr::GhcbMsr`]: what a host reads there is the guest's MSR |
//! | `vc_svm_ghcb_va` and `vc_svm_ghcb_pa` of a vCPU | nothing: the page is where the MSR says, and a host opens it for each exit |
//!
//! All integers in the page and in the MSR are little endian.

#![forbid(unsafe_code)]

mod open;

pub mod ap;
pub mod apic_ids;
pub mod bitmap;
pub mod doorbell;
pub mod event;
pub mod exit_code;
pub mod exit_info;
pub mod features;
pub mod guest;
pub mod guest_request;
pub mod ioio;
pub mod mmio;
pub mod msr;
pub mod page;
pub mod psc;
pub mod reply;
pub mod scratch;
pub mod secure_avic;
pub mod snapshot;
pub mod terminate;
pub mod tio;
pub mod version;
