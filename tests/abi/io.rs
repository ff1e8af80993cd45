// SPDX-License-Identifier: GPL-2.0

use ghcb_rs::ghcb_abi::ioio::{AddressSize, IoInfo, IoSize, Segment};
use proptest::{prelude::*, sample::select};

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        port: u16,
        size in select(IoSize::ALL.to_vec()),
        is_in: bool,
        string: bool,
        rep: bool,
        address in select(AddressSize::NAMED.to_vec()),
        segment in 0u8..8,
    ) {
        let mut io = IoInfo::new(port, size, is_in);
        if string {
            io = io.string(rep, address, Segment(segment));
        }
        prop_assert_eq!(io.port(), port);
        prop_assert_eq!(io.size(), Some(size));
        prop_assert_eq!(io.is_in(), is_in);
        prop_assert_eq!(io.is_string(), string);
        prop_assert_eq!(io.is_rep(), string && rep);
        prop_assert_eq!(io.address_size(), string.then_some(address));
        prop_assert_eq!(io.segment(), Segment(if string { segment } else { 0 }));
        // Nothing but the documented bits.
        prop_assert_eq!(io.0 & !0xffff_1ffd, 0);
    }

    #[test]
    fn every_value_is_decoded(info1: u64) {
        let io = IoInfo(info1);
        let bits = (info1 / 16 % 8) as u8;
        prop_assert_eq!(io.size_bits(), bits);
        prop_assert_eq!(io.size().map(IoSize::bytes), [1, 2, 4].contains(&bits).then_some(bits as usize));
        prop_assert_eq!(u64::from(io.port()), info1 / 0x1_0000 % 0x1_0000);
        prop_assert_eq!(io.is_in(), info1 % 2 == 1);
        prop_assert_eq!(io.is_string(), info1 / 4 % 2 == 1);
        prop_assert_eq!(io.is_rep(), info1 / 8 % 2 == 1);
        prop_assert_eq!(u64::from(io.segment().0), info1 / 1024 % 8);
    }
}

#[test]
fn as_a_linux_guest_encodes_it() {
    // rep insb from port 0x511, 64-bit addresses.
    let io = IoInfo::new(0x511, IoSize::Byte, true).string(true, AddressSize::BITS_64, Segment::ES);
    assert_eq!(
        io.0,
        (0x511 << 16) | (1 << 9) | (1 << 4) | (1 << 3) | (1 << 2) | 1
    );
    // outsd to port 0x80, 32-bit addresses.
    let io =
        IoInfo::new(0x80, IoSize::Dword, false).string(false, AddressSize::BITS_32, Segment::DS);
    assert_eq!(
        io.0,
        (0x80 << 16) | (3 << 10) | (1 << 8) | (1 << 6) | (1 << 2)
    );
    let io =
        IoInfo::new(0x80, IoSize::Word, false).string(false, AddressSize::BITS_16, Segment::FS);
    assert_eq!(
        io.0,
        (0x80 << 16) | (4 << 10) | (1 << 7) | (1 << 5) | (1 << 2)
    );
    let unknown = IoInfo::new(0x80, IoSize::Word, false).string(false, AddressSize(7), Segment::GS);
    assert_eq!(unknown.address_size(), None);
}

proptest! {
    #[test]
    fn a_string_replaces_what_was_there(
        bits: u64,
        rep: bool,
        address in select(vec![(AddressSize::BITS_16, 1), (AddressSize::BITS_32, 2), (AddressSize::BITS_64, 4)]),
        segment: u8,
    ) {
        let io = IoInfo(bits).string(rep, address.0, Segment(segment));
        let fields = (u64::from(rep) << 3) | (address.1 << 7) | ((u64::from(segment) & 7) << 10);
        prop_assert_eq!(io.0, bits & !0x1f88 | 4 | fields);
    }
}

#[test]
fn masks_of_sizes() {
    let masks = IoSize::ALL.map(|size| (size.bytes(), size.mask()));
    assert_eq!(masks, [(1, 0xff), (2, 0xffff), (4, 0xffff_ffff)]);
}
