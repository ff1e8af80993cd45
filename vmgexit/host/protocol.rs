// SPDX-License-Identifier: GPL-2.0

//! What both forms of a request need: the GHCB MSR, and what the host speaks.

use crate::ghcb_abi::{msr::GhcbMsr, version::Version};

/// The GHCB MSR, and what was agreed on before it is used.
pub trait Protocol {
    /// The GHCB MSR.
    fn ghcb_msr(&self) -> GhcbMsr;

    /// Changes the GHCB MSR.
    fn set_ghcb_msr(&mut self, value: GhcbMsr);

    /// The highest protocol version that this VM may speak.
    fn version(&self) -> Version;

    /// Position of the encryption bit in page table entries.
    fn c_bit(&self) -> u8;
}
