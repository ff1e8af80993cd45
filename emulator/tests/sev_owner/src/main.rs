// SPDX-License-Identifier: GPL-2.0-or-later

//! What `sevctl` and a guest's owner do, by the `sev` crate: verify the platform's chain of certificates, provision the
//! platform, launch a guest with a session, verify its measurement, send it a secret.

use std::error::Error;
use std::fs::OpenOptions;

use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::Kvm;
use sev::certs::sev::sev::{Certificate, Chain, Usage};
use sev::certs::sev::{Signer, Verifiable};
use sev::error::SessionError;
use sev::firmware::host::Firmware;
use sev::launch::sev::{HeaderFlags, Launcher, Policy};
use sev::session::Session;

/// `KVM_X86_SEV_VM`.
const SEV_VM: u64 = 2;
const PAGE: usize = 4096;

#[repr(C, align(4096))]
struct Memory([u8; 16 * PAGE]);

fn chain(firmware: &mut Firmware) -> Result<Chain, Box<dyn Error>> {
    let chain = firmware.pdh_cert_export()?;
    (&chain).verify()?;
    Ok(chain)
}

/// From a platform that owns itself to one of an owner.
fn provision(firmware: &mut Firmware) -> Result<(), Box<dyn Error>> {
    let (mut oca, key) = Certificate::generate(Usage::OCA)?;
    key.sign(&mut oca)?;
    let mut pek = firmware.pek_csr()?;
    key.sign(&mut pek)?;
    firmware.pek_cert_import(&pek, &oca)?;
    if chain(firmware)?.oca != oca {
        return Err("the chain has another OCA".into());
    }
    Ok(())
}

fn refused(error: SessionError) -> String {
    format!("session: {error:?}")
}

fn launch(firmware: &mut Firmware) -> Result<(), Box<dyn Error>> {
    let build = firmware.platform_status()?.build;
    let vm = Kvm::new()?.create_vm_with_type(SEV_VM)?;
    let mut memory = Box::new(Memory([0; 16 * PAGE]));
    memory.0[..5].copy_from_slice(b"guest");
    let address = memory.0.as_mut_ptr() as usize;
    let region = kvm_userspace_memory_region {
        memory_size: memory.0.len() as u64,
        userspace_addr: address as u64,
        ..Default::default()
    };
    // SAFETY: the region is `memory`, which outlives the VM and is touched by nobody else.
    unsafe { vm.set_user_memory_region(region)? };

    let session = Session::try_from(Policy::default())?;
    // Not by `start`, which wants AMD's signature on the CEK: an emulated chip has none.
    let start = session.start_pdh(chain(firmware)?.pdh).map_err(refused)?;
    let mut session = session.measure()?;
    session.update_data(&memory.0)?;

    let sev = OpenOptions::new().read(true).write(true).open("/dev/sev")?;
    let mut launcher = Launcher::new(vm, sev)?.start(start)?;
    launcher.update_data(&memory.0)?;
    let mut launcher = launcher.measure()?;
    let session = session.verify(build, launcher.measurement())?;
    let secret = session
        .secret(HeaderFlags::default(), b"sixteen letters.")
        .map_err(refused)?;
    launcher.inject(&secret, address)?;
    let mut report = launcher.finish_attestable()?;
    if report.report([7; 16])?.len() != 208 {
        return Err("an attestation report of another length".into());
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut firmware = Firmware::open()?;
    firmware.pek_generate()?;
    chain(&mut firmware)?;
    launch(&mut firmware)?;
    provision(&mut firmware)?;
    launch(&mut firmware)?;
    firmware.pek_generate()?;
    chain(&mut firmware)?;
    Ok(())
}
