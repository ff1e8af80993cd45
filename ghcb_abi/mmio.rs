// SPDX-License-Identifier: GPL-2.0

//! Memory-mapped I/O: [`MMIO_READ`](super::exit_code::ExitCode::MMIO_READ) and
//! [`MMIO_WRITE`](super::exit_code::ExitCode::MMIO_WRITE).
//!
//! SW_EXITINFO1 is the guest physical address, SW_EXITINFO2 the length in bytes; the data are in the
//! scratch area, which a read fills and a write leaves alone.

/// Longest access that a guest of protocol version 2 or later may ask for, in bytes.
///
/// Version 1 has no such limit beyond that of the scratch area. A length of zero does nothing.
pub const MAX_LENGTH: u64 = 8;
