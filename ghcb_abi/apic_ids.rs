// SPDX-License-Identifier: GPL-2.0

//! The list of APIC IDs of an SEV-SNP guest.
//!
//! [`APIC_ID_LIST`](super::exit_code::ExitCode::APIC_ID_LIST) has the address of the pages that take the
//! list in SW_EXITINFO1 and their number in RAX. A number that is too small, zero for instance, asks for the
//! right one: RAX of the reply, and nothing is written. The list is a count and that many IDs, 32 bits each.

use super::page::PAGE_SIZE;

/// Bytes of each APIC ID, and of the count before them.
pub const ENTRY_SIZE: usize = 4;

/// Pages that a list of `count` APIC IDs takes.
///
/// ```
/// use ghcb_abi::apic_ids::pages_for;
/// assert_eq!(pages_for(1), 1);
/// assert_eq!(pages_for(1023), 1);
/// assert_eq!(pages_for(1024), 2);
/// ```
pub const fn pages_for(count: u32) -> u64 {
    let per_page = (PAGE_SIZE / ENTRY_SIZE) as u64;
    count as u64 / per_page + 1
}
