// SPDX-License-Identifier: GPL-2.0

//! What the files of counters say: sums over accounts.

use super::{
    accounts::{self, Account, Reader},
    counts::{self, Counts},
    latency,
    vcpu::VmName,
};
use kernel::fmt;

/// Which accounts a file is about.
pub(super) enum Scope {
    /// All, and what was counted of those that are gone.
    All,
    /// Those of a VM.
    Vm(VmName),
}

impl Scope {
    /// Whether an account belongs to it.
    fn has(&self, account: &Account) -> bool {
        match self {
            Self::All => true,
            Self::Vm(vm) => account.vm == *vm,
        }
    }

    /// Hands out all that has been counted.
    fn each(&self, accounts: &Reader, take: &mut dyn FnMut(&Counts)) {
        if matches!(self, Self::All) {
            take(accounts.rest().0);
        }
        accounts.each(|account| {
            if self.has(account) {
                take(&account.counts);
            }
        });
    }

    /// Writes the table of events.
    pub(super) fn write_events(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        accounts::read(|accounts| counts::write_events(f, |take| self.each(accounts, take)))
    }

    /// Writes the table of reasons.
    pub(super) fn write_reasons(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        accounts::read(|accounts| counts::write_reasons(f, |take| self.each(accounts, take)))
    }

    /// Writes the table of verdicts.
    pub(super) fn write_verdicts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        accounts::read(|accounts| counts::write_verdicts(f, |take| self.each(accounts, take)))
    }

    /// Writes the histograms.
    pub(super) fn write_latency(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        accounts::read(|accounts| {
            latency::write(f, |take| {
                if matches!(self, Self::All) {
                    take(accounts.rest().1);
                }
                accounts.each(|account| {
                    if let Some(latency) =
                        accounts.latency_of(account).filter(|_| self.has(account))
                    {
                        take(latency);
                    }
                });
            })
        })
    }
}

/// Writes the table of a VM's vCPUs, in the order of their numbers.
pub(super) fn write_vcpus(vm: &VmName, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "vcpu\tevent\trust\tc\terrors")?;
    accounts::read(|accounts| {
        let mut from = Some(0);
        while let Some(least) = from {
            let mut next: Option<u32> = None;
            accounts.each(|account| {
                if account.vm == *vm && account.vcpu >= least {
                    next = Some(next.map_or(account.vcpu, |next| next.min(account.vcpu)));
                }
            });
            let Some(number) = next else { break };
            let mut result = Ok(());
            accounts.each(|account| {
                if account.vm == *vm && account.vcpu == number && result.is_ok() {
                    result = counts::write_vcpu(f, number, &account.counts);
                }
            });
            result?;
            from = number.checked_add(1);
        }
        Ok(())
    })
}
