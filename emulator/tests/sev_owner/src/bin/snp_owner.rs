// SPDX-License-Identifier: GPL-2.0-or-later

//! What the owner of an SNP guest does, by the `sev` crate: verify an attestation report to the root, refuse an altered
//! one, compute what was launched.
//!
//!     snp_owner verify CERTIFICATES REPORT          the directory that `kds` has written, and a report: it verifies, and
//!                                                   does not with any byte altered
//!     snp_owner measure CERTIFICATES REPORT OVMF N  it verifies, and is of this firmware with N vCPUs

use std::error::Error;
use std::fs::read;
use std::path::Path;

use sev::certs::snp::{ca, Certificate, Chain, Verifiable};
use sev::firmware::guest::AttestationReport;
use sev::measurement::snp::{snp_calc_launch_digest, SnpMeasurementArgs};
use sev::measurement::vcpu_types::CpuType;
use sev::measurement::vmsa::{GuestFeatures, VMMType};
use sev::parser::ByteParser;

/// What of a report is signed.
const SIGNED: usize = 0x2a0;

fn chain(dir: &Path) -> Result<Chain, Box<dyn Error>> {
    let certificate = |name: &str| -> Result<Certificate, Box<dyn Error>> {
        Ok(Certificate::from_pem(&read(dir.join(name))?)?)
    };
    Ok(Chain {
        ca: ca::Chain {
            ark: certificate("ark.pem")?,
            ask: certificate("ask.pem")?,
        },
        vek: certificate("vcek.pem")?,
    })
}

/// Whether the crate takes `report` for one of the chip's.
fn holds(chain: &Chain, report: &[u8]) -> bool {
    AttestationReport::from_bytes(report).is_ok_and(|report| (chain, &report).verify().is_ok())
}

/// No byte of what is signed may change, but for those that the crate drops when it reads a report: the reserved parts of a
/// TCB version, for instance.
fn refuse_altered(chain: &Chain, report: &[u8]) -> Result<(), Box<dyn Error>> {
    let read = AttestationReport::from_bytes(report)?;
    let mut dropped = Vec::new();
    for byte in 0..SIGNED {
        let mut altered = report.to_vec();
        altered[byte] ^= 1 << (byte % 8);
        if AttestationReport::from_bytes(&altered).is_ok_and(|altered| altered == read) {
            dropped.push(byte);
        } else if holds(chain, &altered) {
            return Err(format!("a report with byte {byte:#x} altered verifies").into());
        }
    }
    if dropped.len() > SIGNED / 8 {
        return Err(format!("the crate drops {} bytes: {dropped:x?}", dropped.len()).into());
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn measure(report: &[u8], ovmf: &str, vcpus: &str) -> Result<(), Box<dyn Error>> {
    let digest = snp_calc_launch_digest(SnpMeasurementArgs {
        vcpus: vcpus.parse()?,
        vcpu_type: CpuType::EpycMilan,
        ovmf_file: ovmf.into(),
        guest_features: GuestFeatures(1),
        kernel_file: None,
        initrd_file: None,
        append: None,
        ovmf_hash_str: None,
        vmm_type: Some(VMMType::QEMU),
    })?;
    let measured = AttestationReport::from_bytes(report)?.measurement;
    let (measured, computed) = (hex(measured.as_ref()), digest.get_hex_ld());
    if measured != computed {
        return Err(format!("launched {measured}, computed {computed}").into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (certificates, report) = match args[..] {
        ["verify", certificates, report] | ["measure", certificates, report, ..] => {
            (chain(Path::new(certificates))?, read(report)?)
        }
        _ => return Err("usage: snp_owner verify|measure CERTIFICATES REPORT [OVMF VCPUS]".into()),
    };
    if !holds(&certificates, &report) {
        return Err("the report does not verify".into());
    }
    if let ["measure", _, _, ovmf, vcpus] = args[..] {
        measure(&report, ovmf, vcpus)?;
    } else {
        refuse_altered(&certificates, &report)?;
    }
    println!("the report verifies to the root");
    Ok(())
}
