// SPDX-License-Identifier: GPL-2.0

//! What exits are counted as.

use std::collections::BTreeSet;

use ghcb_rs::{
    ghcb_abi::{exit_code::ExitCode, reply::ErrorReason},
    vmgexit::kind::Kind,
};

use crate::{
    replies::{assert_reply, refused, zeros},
    support::Host,
};

#[test]
fn a_refused_request_is_counted_under_its_event() {
    for (code, info1, kind) in [
        (0x7b, 0x11, Kind::PortIo),
        (0x7b, 0x15, Kind::StringIo),
        (0x7c, 0, Kind::ReadMsr),
        (0x7c, 1, Kind::WriteMsr),
    ] {
        let host = Host::new().request(ExitCode(code), info1, 0, &[]);
        host.page.put(0xff8, 1 << 32);
        let expected = refused(ErrorReason::INVALID_USAGE).with(&zeros(code, info1));
        assert_reply(host, kind, &expected, &[]);
    }
    for (code, kind) in [
        (0x27, Kind::ReadDr7),
        (0x37, Kind::WriteDr7),
        (0x6e, Kind::Rdtsc),
        (0x6f, Kind::Rdpmc),
        (0x72, Kind::Cpuid),
        (0x76, Kind::Invd),
        (0x81, Kind::Vmmcall),
        (0x87, Kind::Rdtscp),
        (0x89, Kind::Wbinvd),
        (0x8a, Kind::Monitor),
        (0x8b, Kind::Mwait),
        (0x8000_0001, Kind::MmioRead),
        (0x8000_0002, Kind::MmioWrite),
        (0x8000_0003, Kind::NmiComplete),
        (0x8000_0004, Kind::ApResetHold),
        (0x8000_0005, Kind::ApJumpTable),
        (0x8000_0010, Kind::PageStateChange),
        (0x8000_0011, Kind::GuestRequest),
        (0x8000_0012, Kind::ExtGuestRequest),
        (0x8000_0013, Kind::ApCreation),
        (0x8000_0014, Kind::HvDoorbell),
        (0x8000_0015, Kind::HvIpi),
        (0x8000_0016, Kind::HvTimer),
        (0x8000_0017, Kind::ApicIdList),
        (0x8000_0018, Kind::RunVmpl),
        (0x8000_001a, Kind::SecureAvic),
        (0x8000_0020, Kind::TioGuestRequest),
        (0x8000_0021, Kind::TioOperation),
        (0x8000_fffd, Kind::HvFeatures),
        (0x8000_fffe, Kind::Terminate),
        (0x8000_ffff, Kind::UnsupportedEvent),
        (0x403, Kind::UnknownEvent),
    ] {
        let host = Host::new().request(ExitCode(code), 0, 0, &[]);
        // Usage 1.
        host.page.put(0xff8, 1 << 32);
        let expected = refused(ErrorReason::INVALID_USAGE).with(&zeros(code, 0));
        assert_reply(host, kind, &expected, &[]);
    }
}

#[test]
fn each_kind_has_its_number_and_its_name() {
    for (number, kind) in Kind::ALL.iter().enumerate() {
        assert_eq!(*kind as usize, number);
    }
    let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), Kind::COUNT);
    let is_plain = |name: &&str| {
        name.bytes()
            .all(|byte| byte.is_ascii_lowercase() || b"_0123456789".contains(&byte))
    };
    assert!(names.iter().all(is_plain), "{names:?}");
}
