// SPDX-License-Identifier: GPL-2.0

//! Which page of an SEV-SNP guest is its GHCB.

/// A vCPU that knows whether its guest has SEV-SNP, and which page it has registered.
pub trait Registration {
    /// Whether the guest has SEV-SNP active.
    fn is_snp(&self) -> bool;

    /// Whether the GHCB at `gpa` is the one that the guest has registered for this vCPU.
    fn is_registered(&self, gpa: u64) -> bool;

    /// Registers the GHCB at `gpa`, and no other, for this vCPU.
    fn register(&mut self, gpa: u64);
}
