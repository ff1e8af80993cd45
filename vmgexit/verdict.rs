// SPDX-License-Identifier: GPL-2.0

//! How an answer of C's compares with the one that would have been given here.

/// Declares [`Verdict`].
macro_rules! verdicts {
    ($( $(#[$doc:meta])* $verdict:ident, $label:literal; )*) => {
        /// How C's answer to an exit compares with the one foreseen. The differences have their names of docs/differences.md.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Verdict {
            $( $(#[$doc])* $verdict, )*
        }

        impl Verdict {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$( Self::$verdict ),*];

            /// How many there are.
            pub const COUNT: usize = Self::ALL.len();

            /// Label.
            pub const fn name(self) -> &'static str {
                match self {
                    $( Self::$verdict => $label, )*
                }
            }
        }
    };
}

verdicts! {
    /// No difference.
    Same, "same";
    /// Both take the request; what comes of it is not compared.
    Accepted, "accepted";
    /// The guest changed the page, or the AP jump table, between the two looks.
    Raced, "raced";
    /// C returns registers that the event does not return.
    ReturnedRegisters, "returned-registers";
    /// C ends KVM_RUN.
    Rdtsc, "rdtsc";
    /// C injects #UD.
    Rdtscp, "rdtscp";
    /// C returns another DR7.
    ReadDr7, "read-dr7";
    /// C injects the exception of an emulated instruction.
    EmulationException, "emulation-exception";
    /// C ends KVM_RUN at a write of an MSR that is not intercepted.
    WrmsrPassthrough, "wrmsr-passthrough";
    /// C offers features of SEV-SNP to a guest without.
    HvFeatures, "hv-features";
    /// C ends a guest without SEV-SNP for a request in the MSR, or does not answer.
    MsrSnpRequest, "msr-snp-request";
    /// C keeps unused bits of a request in the MSR.
    MsrReservedBits, "msr-reserved-bits";
    /// C judges a request in the MSR by an older CPL.
    MsrCpuidCpl, "msr-cpuid-cpl";
    /// C misses inputs of an event that it does not know.
    SnpEventFirst, "snp-event-first";
    /// C takes what is no size for one.
    IoioSize, "ioio-size";
    /// C ends KVM_RUN at a string that is too long.
    StringTooLong, "string-too-long";
    /// C ends KVM_RUN at a scratch area that it cannot read.
    ScratchUnreadable, "scratch-unreadable";
    /// C ends KVM_RUN for want of memory.
    NoMemory, "no-memory";
    /// C gives no reply in a page that it cannot pin.
    AnyUserMemory, "any-user-memory";
    /// C does not offer the APIC-ID list.
    SnpFeatures, "snp-features";
    /// C does not answer the APIC-ID list.
    ApicIdList, "apic-id-list";
    /// C ends KVM_RUN at pages of a guest request that it cannot reach.
    RequestOutOfReach, "request-out-of-reach";
    /// C has told the guest "no action" where the firmware does not answer.
    RequestNoAnswer, "request-no-answer";
    /// None of these.
    Unexplained, "unexplained";
}
