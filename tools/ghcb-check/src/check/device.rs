// SPDX-License-Identifier: GPL-2.0

//! The secure processor, by its device.

use super::{is_denied, Subject};
use crate::{host::FirmwareVersion, report::Check};
use std::io;

/// The lowest version of the API with which Linux initializes SEV-SNP. Kernel: `SNP_MIN_API_MAJOR`, `SNP_MIN_API_MINOR`.
const SNP_MINIMUM: (u8, u8) = (1, 51);

pub(super) fn checks(subject: &Subject<'_>) -> Vec<Check> {
    let host = subject.host;
    if !host.has("/dev/sev") {
        let (found, advice) = if subject.has_module("ccp") {
            (
                "there is no /dev/sev: ccp has found no secure processor that does SEV",
                "see what `dmesg | grep ccp` says; the firmware's settings may hide the secure processor (PSP)",
            )
        } else {
            (
                "there is no /dev/sev: ccp, the secure processor's driver, is not loaded",
                "modprobe ccp",
            )
        };
        return vec![Check::bad("secure-processor", found, advice)];
    }
    let present = Check::good("secure-processor", "/dev/sev is there");
    vec![present, version(&host.firmware())]
}

fn version(version: &io::Result<FirmwareVersion>) -> Check {
    match version {
        Ok(version) => {
            let found = format!(
                "SEV API {}.{}, build {}",
                version.major, version.minor, version.build
            );
            if (version.major, version.minor) < SNP_MINIMUM {
                Check::note(
                    "sev-firmware",
                    format!(
                        "{found}: too old for guests with SEV-SNP, which need {}.{}",
                        SNP_MINIMUM.0, SNP_MINIMUM.1
                    ),
                    "for SEV-SNP, update the host's firmware, or the file amd/amd_sev_*.sbin in /lib/firmware",
                )
            } else {
                Check::good("sev-firmware", found)
            }
        }
        Err(error) if is_denied(error) => {
            Check::unknown("sev-firmware", "/dev/sev may not be opened", super::AS_ROOT)
        }
        Err(error) => Check::bad(
            "sev-firmware",
            format!("the secure processor does not say its firmware's version: {error}"),
            "see what `dmesg | grep ccp` says, and update the host's firmware",
        ),
    }
}
