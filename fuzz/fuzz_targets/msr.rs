// SPDX-License-Identifier: GPL-2.0

//! The MSR protocol: every value has a meaning, and keeps it when made again.

#![no_main]

use ghcb_rs::ghcb_abi::msr::{GhcbMsr, MsrRequest};
use ghcb_rs_fuzz::take;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let msr = GhcbMsr(take(&mut input));

    let request = msr.request();
    let again = request.encode();
    assert_eq!(again.request(), request);
    assert_eq!(again.info(), msr.info());
    assert_eq!(again.0 & !msr.0, 0, "encoding invents no bits");
    if let MsrRequest::GhcbGpa(gpa) = request {
        assert_eq!(gpa, msr.0);
        assert_eq!(gpa % 4096, 0);
    }

    if let Some(response) = msr.response() {
        let again = response.encode();
        assert_eq!(again.response(), Some(response));
        assert_eq!(again.info(), msr.info());
        assert_eq!(again.0 & !msr.0, 0, "encoding invents no bits");
        assert_eq!(
            request,
            MsrRequest::Unknown(msr.0),
            "no response is a request"
        );
    }
});
