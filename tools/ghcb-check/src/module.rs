// SPDX-License-Identifier: GPL-2.0

//! A kernel module in a file: what it says of itself, and who has signed it.

use crate::{build_id::BuildId, host::Host, packed};
use cms::cert::x509::der::{Decode as _, Encode as _};
use cms::{
    cert::x509::name::Name,
    content_info::ContentInfo,
    signed_data::{SignedData, SignerIdentifier},
};
use object::{Object as _, ObjectSection as _};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// What ends a module that is signed. Kernel: `MODULE_SIG_STRING`.
const SIGNATURE_MARK: &[u8] = b"~Module signature appended~\n";

/// Bytes of `struct module_signature`, in front of the mark; its last four are the signature's length, big endian.
const SIGNATURE_INFO: usize = 12;

/// A module.
#[derive(Debug)]
pub struct Module {
    /// Where it was found.
    pub path: PathBuf,
    /// What `modinfo` shows.
    info: BTreeMap<String, String>,
    /// Its own build ID.
    pub build_id: Option<BuildId>,
    /// Who has signed it.
    pub signer: Signer,
}

/// Who has signed a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signer {
    /// Nobody.
    None,
    /// Somebody whose name cannot be read.
    Unnamed,
    /// The one with this common name.
    Named(String),
}

impl Module {
    /// The module in a file, which may be packed.
    ///
    /// # Errors
    ///
    /// Those of reading it; InvalidData if it is no module.
    pub fn open(path: &Path) -> io::Result<Self> {
        let bytes = packed::unpacked(fs::read(path)?)?;
        let (content, signer) = split(&bytes);
        let file = object::File::parse(content)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is no kernel module"))?;
        let section = |name| {
            file.section_by_name(name)
                .and_then(|section| section.data().ok())
                .unwrap_or_default()
        };
        Ok(Self {
            path: path.to_owned(),
            info: section(".modinfo")
                .split(|&byte| byte == 0)
                .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            build_id: BuildId::in_notes(section(".note.gnu.build-id")),
            signer,
        })
    }

    /// The file of a module of the running kernel, wherever below its directory.
    pub fn find(host: &Host, release: &str, name: &str) -> Option<PathBuf> {
        let names: Vec<_> = ["", ".xz", ".zst", ".gz"]
            .iter()
            .map(|suffix| format!("{name}.ko{suffix}"))
            .collect();
        // Those that are searched first by depmod, too.
        ["updates", "extra", "kernel/arch/x86/kvm", "misc", "kernel"]
            .iter()
            .find_map(|part| {
                find_below(
                    &host.path(&format!("/lib/modules/{release}/{part}")),
                    &names,
                )
            })
    }

    /// What `modinfo -F name` shows.
    pub fn info(&self, name: &str) -> Option<&str> {
        self.info.get(name).map(String::as_str)
    }

    /// Release of the kernel that it was made for.
    pub fn release(&self) -> Option<&str> {
        self.info("vermagic")?.split_whitespace().next()
    }
}

/// The first file of these names in a directory or below it.
fn find_below(directory: &Path, names: &[String]) -> Option<PathBuf> {
    let mut entries: Vec<_> = fs::read_dir(directory).ok()?.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    let (directories, files): (Vec<_>, Vec<_>) = entries
        .into_iter()
        .partition(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    files
        .iter()
        .find(|file| names.iter().any(|name| *file.file_name() == **name))
        .map(fs::DirEntry::path)
        .or_else(|| {
            directories
                .iter()
                .find_map(|directory| find_below(&directory.path(), names))
        })
}

/// The module without its signature, and who has signed it.
fn split(bytes: &[u8]) -> (&[u8], Signer) {
    let Some(rest) = bytes.strip_suffix(SIGNATURE_MARK) else {
        return (bytes, Signer::None);
    };
    let found = rest
        .split_last_chunk::<SIGNATURE_INFO>()
        .and_then(|(rest, info)| {
            let length = u32::from_be_bytes(*info.last_chunk()?);
            rest.split_at_checked(rest.len().checked_sub(usize::try_from(length).ok()?)?)
        });
    match found {
        Some((content, signature)) => (
            content,
            name_in(signature).map_or(Signer::Unnamed, Signer::Named),
        ),
        None => (rest, Signer::Unnamed),
    }
}

/// Common name of the first signer of a PKCS #7 message.
fn name_in(signature: &[u8]) -> Option<String> {
    let message = ContentInfo::from_der(signature).ok()?;
    let data = SignedData::from_der(&message.content.to_der().ok()?).ok()?;
    let signer = data.signer_infos.0.iter().next()?;
    match &signer.sid {
        SignerIdentifier::IssuerAndSerialNumber(id) => common_name(&id.issuer),
        SignerIdentifier::SubjectKeyIdentifier(_) => None,
    }
}

/// The common name in a name, or all of it.
fn common_name(name: &Name) -> Option<String> {
    let whole = name.to_string();
    let common = whole
        .split(',')
        .find_map(|part| part.trim().strip_prefix("CN="))
        .unwrap_or(&whole);
    (!common.is_empty()).then(|| common.to_owned())
}
