// SPDX-License-Identifier: GPL-2.0

//! Secure Boot, lockdown, and the module's signature.

use super::Subject;
use crate::{module::Signer, report::Check};

/// The variable of the UEFI specification: four bytes of attributes, then 1 if Secure Boot is on.
const SECURE_BOOT: &str =
    "/sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c";

const NAME: &str = "signature";

/// What to do where a module must be signed with a key that the kernel trusts.
const ENROL: &str =
    "sign it with a key that the firmware has: mokutil --import /var/lib/dkms/mok.pub, restart, confirm, and let dkms build it again";

pub(super) fn check(subject: &Subject<'_>) -> Check {
    let host = subject.host;
    let secure_boot = match host.bytes(SECURE_BOOT).as_deref() {
        Ok([_, _, _, _, 1]) => "Secure Boot is on",
        Ok(_) => "Secure Boot is off",
        Err(_) => "there is no Secure Boot",
    };
    let lockdown = host
        .text("/sys/kernel/security/lockdown")
        .ok()
        .and_then(|text| {
            let (_, rest) = text.split_once('[')?;
            Some(rest.split_once(']')?.0.to_owned())
        })
        .unwrap_or_else(|| "none".to_owned());
    let enforced = subject.parameter("module", "sig_enforce").as_deref() == Some("Y");
    let reason = match (enforced, lockdown.as_str()) {
        (true, _) => "module.sig_enforce is on".to_owned(),
        (false, "none") => {
            return Check::good(
                NAME,
                format!("{secure_boot}, and the kernel takes modules without a signature"),
            )
        }
        (false, level) => format!("lockdown is {level}"),
    };
    let needs = format!("{secure_boot}, and {reason}: the kernel takes signed modules alone");
    let Some(module) = &subject.module else {
        return Check::unknown(
            NAME,
            format!("{needs}, and there is no ghcb_rs.ko yet"),
            ENROL,
        );
    };
    match &module.signer {
        Signer::None => Check::bad(
            NAME,
            format!("{needs}, and {} is not signed", module.path.display()),
            ENROL,
        ),
        Signer::Unnamed => Check::unknown(
            NAME,
            format!(
                "{needs}, and {} does not say who has signed it",
                module.path.display()
            ),
            "sign it as Debian's dkms does",
        ),
        Signer::Named(signer) => match trusts(&host.text("/proc/keys").unwrap_or_default(), signer)
        {
            Some(true) => Check::good(NAME, format!("{needs}, and has the key of \"{signer}\"")),
            Some(false) => Check::bad(
                NAME,
                format!("{needs}, and has no key of \"{signer}\", who has signed the module"),
                ENROL,
            ),
            None => Check::unknown(
                NAME,
                format!("{needs}; whether it has a key of \"{signer}\" cannot be read"),
                super::AS_ROOT,
            ),
        },
    }
}

/// Whether the kernel has a certificate of this name. `None` if it shows none at all, as to users without rights.
fn trusts(keys: &str, signer: &str) -> Option<bool> {
    // "ID flags usage timeout permissions uid gid type description: summary"
    let mut names = keys
        .lines()
        .filter_map(|line| line.split_once(" asymmetri ").map(|(_, name)| name))
        .peekable();
    names.peek()?;
    Some(names.any(|name| name.contains(&format!("{signer}: "))))
}
