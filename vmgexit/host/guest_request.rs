// SPDX-License-Identifier: GPL-2.0

//! Messages of the guest to the firmware, and certificates from userspace.

use super::memory::Memory;

/// Guest memory that cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfReach;

/// A fault of the host's: a negative error number, for KVM_RUN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostFault(pub i32);

/// What the firmware made of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirmwareAnswer {
    /// Its status: zero if the response is one.
    pub status: u32,
}

/// What userspace says when certificates are wanted. C: `kvm_run.snp_req_certs`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateAnswer {
    /// They are where the guest wants them.
    Done,
    /// They take so many pages.
    TooFewPages(u64),
    /// Later.
    Busy,
    /// Never.
    Failed,
    /// No answer that KVM knows of.
    Invalid,
}

/// A vCPU whose guest talks with the firmware.
pub trait GuestRequests: Memory {
    /// Whether the VM may ask the firmware now; counts this as once.
    fn may_ask_firmware(&mut self) -> bool;

    /// Copies the message in the page at `gpa`, as a whole, into memory that neither the guest nor userspace
    /// can reach. `Ok(None)` if there is no memory.
    ///
    /// # Errors
    ///
    /// The page cannot be read.
    fn read_message(&mut self, gpa: u64) -> Result<Option<Self::Buffer>, OutOfReach>;

    /// Writes a message into the page at `gpa`.
    ///
    /// # Errors
    ///
    /// The page cannot be written to.
    fn write_message(&mut self, gpa: u64, message: &Self::Buffer) -> Result<(), OutOfReach>;

    /// Zeroes `len` bytes at `gpa`.
    ///
    /// # Errors
    ///
    /// They cannot be written to.
    fn clear(&mut self, gpa: u64, len: usize) -> Result<(), OutOfReach>;

    /// Hands a message to the firmware, whose response takes its place.
    ///
    /// # Errors
    ///
    /// The firmware did not answer.
    fn ask_firmware(&mut self, message: &mut Self::Buffer) -> Result<FirmwareAnswer, HostFault>;

    /// Whether userspace provides certificates. C: `KVM_SEV_SNP_ENABLE_REQ_CERTS`.
    fn has_certificates(&self) -> bool;

    /// Prepares the exit to userspace for certificates, `pages` pages at `gpa`. The request goes on with
    /// [`go_on()`](crate::vmgexit::carry_out::guest_request::go_on).
    fn ask_for_certificates(&mut self, gpa: u64, pages: u64);

    /// What userspace has answered.
    fn certificate_answer(&self) -> CertificateAnswer;
}
