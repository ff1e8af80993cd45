// SPDX-License-Identifier: GPL-2.0
//! Where the livepatch answers otherwise than kvm_amd's C function, on purpose; each by its name in docs/differences.md.

use crate::kernel::handler::Handler;

/// A deliberate difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Difference {
    /// C returns RAX, RBX, RCX and RDX with every reply; Rust those that the event returns.
    ReplyFields,
    /// C ends a guest for MSR requests of SEV-SNP, or does not answer; Rust answers that they failed.
    SnpMsrRequests,
    /// C tells guests without SEV-SNP of its features; Rust tells them that there are none.
    SnpFeatures,
    /// C ends the run at RDTSC; Rust answers.
    Rdtsc,
    /// C injects #UD at RDTSCP; Rust answers.
    Rdtscp,
    /// C takes several size bits of IOIO for a size; Rust refuses the request.
    IoSize,
    /// C ends the run at a string count that is too large; Rust refuses the request.
    StringCount,
    /// C ends the run when a scratch area can't be read; Rust refuses the request.
    ScratchUnreadable,
    /// C ends the run when there is no memory for a copy of a scratch area; Rust refuses the request.
    NoMemory,
    /// C injects the exception of a failed emulation; Rust tells the guest to raise it.
    Exception,
    /// C returns RAX at a read of DR7; Rust the value last written.
    Dr7,
    /// C ends the run at WRMSR of an MSR that is not intercepted; Rust tells the guest to raise #GP.
    WrmsrPassthrough,
    /// C misses the fields of an event for SEV-SNP that it does not know; Rust refuses the request for that first.
    SnpEventFirst,
    /// C replies in the page that was there at the VMGEXIT; Rust in the one that is there when the vCPU runs again,
    /// if that can be written to.
    ReplyInThePresentPage,
    /// C gives no reply in memory that it cannot pin; Rust pins none.
    AnyUserMemory,
    /// C judges CPUID by the MSR by the CPL of the last request in a page; Rust by CPL 0.
    MsrCpuidCpl,
    /// C keeps the unused bits of a CPUID request in its response; Rust clears them.
    MsrCpuidBits,
    /// C leaves in the page what was there where a device in the kernel gives no data; Rust zeros.
    UnreadData,
    /// C refuses to list APIC IDs; Rust lists them.
    ApicIdList,
    /// C tells SEV-SNP guests of SNP and AP creation; Rust of the APIC-ID list too.
    SnpGuestFeatures,
    /// C merges what follows the first pages of an entry that is partly done; Rust carries the rest out alone.
    PscPartlyDone,
    /// C reads each entry of a list when it comes to it; Rust reads the list once.
    PscProgress,
    /// C keeps a range in mind when userspace's answer about it is none, and warns at the next list; Rust forgets it.
    PscUnanswered,
    /// C does not start a vCPU that waits for INIT or SIPI by AP creation; Rust does.
    ApThatWaits,
    /// C ends the run if the pages of a guest request can't be reached; Rust refuses the request.
    RequestOutOfReach,
    /// C has told the guest "no action" when the firmware does not answer; Rust tells it "busy".
    RequestNoAnswer,
    /// C takes guest requests without limit; Rust has a parameter.
    RequestRate,
    /// C has told the guest "no action" when userspace's answer about certificates is none; Rust tells of an error.
    CertificatesUnanswered,
}

impl Difference {
    /// All of them.
    pub const ALL: [Self; 28] = [
        Self::ReplyFields,
        Self::SnpMsrRequests,
        Self::SnpFeatures,
        Self::Rdtsc,
        Self::Rdtscp,
        Self::IoSize,
        Self::StringCount,
        Self::ScratchUnreadable,
        Self::NoMemory,
        Self::Exception,
        Self::Dr7,
        Self::WrmsrPassthrough,
        Self::SnpEventFirst,
        Self::ReplyInThePresentPage,
        Self::AnyUserMemory,
        Self::MsrCpuidCpl,
        Self::MsrCpuidBits,
        Self::UnreadData,
        Self::ApicIdList,
        Self::SnpGuestFeatures,
        Self::PscPartlyDone,
        Self::PscProgress,
        Self::PscUnanswered,
        Self::ApThatWaits,
        Self::RequestOutOfReach,
        Self::RequestNoAnswer,
        Self::RequestRate,
        Self::CertificatesUnanswered,
    ];

    /// Its name in docs/differences.md.
    pub fn name(self) -> &'static str {
        match self {
            Self::ReplyFields => "returned-registers",
            Self::SnpMsrRequests => "msr-snp-request",
            Self::SnpFeatures => "hv-features",
            Self::Rdtsc => "rdtsc",
            Self::Rdtscp => "rdtscp",
            Self::IoSize => "ioio-size",
            Self::StringCount => "string-too-long",
            Self::ScratchUnreadable => "scratch-unreadable",
            Self::NoMemory => "no-memory",
            Self::Exception => "emulation-exception",
            Self::Dr7 => "read-dr7",
            Self::WrmsrPassthrough => "wrmsr-passthrough",
            Self::SnpEventFirst => "snp-event-first",
            Self::ReplyInThePresentPage => "reply-in-the-present-page",
            Self::AnyUserMemory => "any-user-memory",
            Self::MsrCpuidCpl => "msr-cpuid-cpl",
            Self::MsrCpuidBits => "msr-reserved-bits",
            Self::UnreadData => "unread-data",
            Self::ApicIdList => "apic-id-list",
            Self::SnpGuestFeatures => "snp-features",
            Self::PscPartlyDone => "psc-partly-done",
            Self::PscProgress => "psc-progress",
            Self::PscUnanswered => "psc-unanswered",
            Self::ApThatWaits => "ap-that-waits",
            Self::RequestOutOfReach => "request-out-of-reach",
            Self::RequestNoAnswer => "request-no-answer",
            Self::RequestRate => "request-rate",
            Self::CertificatesUnanswered => "certificates-unanswered",
        }
    }

    /// `c` or `rust`, whichever is right for `handler`.
    pub fn choose<T>(self, handler: Handler, c: T, rust: T) -> T {
        match handler {
            Handler::C => c,
            Handler::Rust => rust,
        }
    }
}
