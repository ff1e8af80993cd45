// SPDX-License-Identifier: GPL-2.0

//! Restricted injection: the #HV doorbell page and IPIs of SEV-SNP guests.
//!
//! [`HV_IPI`](super::exit_code::ExitCode::HV_IPI) has the value for the local APIC's ICR in
//! SW_EXITINFO1 and returns nothing.

use super::open::open_enum;

open_enum! {
    /// SW_EXITINFO1 of [`HV_DOORBELL`](super::exit_code::ExitCode::HV_DOORBELL). Guest to host.
    pub struct DoorbellOperation(u64) {
        /// SW_EXITINFO2 of the reply is the address that the host prefers, or
        /// [`NO_PREFERENCE`].
        GET_PREFERRED = 0, "get_preferred";
        /// Use the page at SW_EXITINFO2; the reply repeats the address.
        SET = 1, "set";
        /// SW_EXITINFO2 of the reply is the address in use.
        QUERY = 2, "query";
        /// Stop using the page.
        CLEAR = 3, "clear";
    }
}

/// The host has no preferred address for the doorbell page.
pub const NO_PREFERENCE: u64 = u64::MAX;
