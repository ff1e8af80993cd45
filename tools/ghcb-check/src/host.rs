// SPDX-License-Identifier: GPL-2.0

//! The host that is looked at: this one, or one whose files were saved below a directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A host.
#[derive(Debug)]
pub struct Host {
    /// Where its files were saved; `None` for the host that this program runs on.
    saved: Option<PathBuf>,
}

/// EAX to EDX, as CPUID returns them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leaf {
    /// EAX.
    pub eax: u32,
    /// EBX.
    pub ebx: u32,
    /// ECX.
    pub ecx: u32,
    /// EDX.
    pub edx: u32,
}

/// Version of the secure processor's firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FirmwareVersion {
    /// Major version of its API.
    pub major: u8,
    /// Minor version of its API.
    pub minor: u8,
    /// Number of the build.
    pub build: u8,
}

impl Host {
    /// The host whose files were saved below `saved`, or this one.
    pub fn at(saved: Option<PathBuf>) -> Self {
        Self { saved }
    }

    /// Whether it is the host that this program runs on.
    pub fn is_this(&self) -> bool {
        self.saved.is_none()
    }

    /// Where a file of the host is. `path` is absolute.
    pub fn path(&self, path: &str) -> PathBuf {
        match &self.saved {
            None => PathBuf::from(path),
            Some(directory) => directory.join(path.trim_start_matches('/')),
        }
    }

    /// A file's bytes.
    ///
    /// # Errors
    ///
    /// Those of opening and reading it.
    pub fn bytes(&self, path: &str) -> io::Result<Vec<u8>> {
        fs::read(self.path(path))
    }

    /// A file's text, without white space around it.
    ///
    /// # Errors
    ///
    /// Those of opening and reading it.
    pub fn text(&self, path: &str) -> io::Result<String> {
        let bytes = self.bytes(path)?;
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// Opens a file, and looks no further.
    ///
    /// # Errors
    ///
    /// Those of opening it.
    pub fn open(&self, path: &str) -> io::Result<()> {
        fs::File::open(self.path(path)).map(drop)
    }

    /// Whether there is a file or a directory.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Names in a directory, in order.
    ///
    /// # Errors
    ///
    /// Those of reading it.
    pub fn names(&self, path: &str) -> io::Result<Vec<String>> {
        let mut names = fs::read_dir(self.path(path))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    /// Release of its kernel.
    ///
    /// # Errors
    ///
    /// Those of reading it.
    pub fn release(&self) -> io::Result<String> {
        self.text("/proc/sys/kernel/osrelease")
    }

    /// What CPUID says, subfunction 0; zeros where the processor has no such function. `None` if that was not saved.
    pub fn cpuid(&self, function: u32) -> Option<Leaf> {
        match &self.saved {
            None => {
                let leaf = |function| raw_cpuid::native_cpuid::cpuid_count(function, 0);
                // A processor answers for a function that it does not have as for its highest.
                if function > leaf(function & 0x8000_0000).eax {
                    return Some(Leaf::default());
                }
                let leaf = leaf(function);
                Some(Leaf {
                    eax: leaf.eax,
                    ebx: leaf.ebx,
                    ecx: leaf.ecx,
                    edx: leaf.edx,
                })
            }
            Some(directory) => saved_cpuid(&directory.join("cpuid"), function),
        }
    }

    /// Version of the secure processor's firmware.
    ///
    /// # Errors
    ///
    /// Those of asking for it.
    pub fn firmware(&self) -> io::Result<FirmwareVersion> {
        if self.saved.is_some() {
            return saved_version(&self.text("/sev-status")?)
                .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
        }
        // Asked before the library does, for the reason why it cannot be opened.
        fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/sev")?;
        let status = sev::firmware::host::Firmware::open()?
            .platform_status()
            .map_err(|error| io::Error::other(format!("{error:?}")))?;
        Ok(FirmwareVersion {
            major: status.build.version.major,
            minor: status.build.version.minor,
            build: status.build.build,
        })
    }
}

/// A line "   0x8000001f 0x00: eax=0x... ebx=0x... ecx=0x... edx=0x..." of `cpuid -1 -r`.
fn saved_cpuid(file: &Path, function: u32) -> Option<Leaf> {
    let text = fs::read_to_string(file).ok()?;
    let number = |word: &str| u32::from_str_radix(word.trim_start_matches("0x"), 16).ok();
    for line in text.lines() {
        let Some((which, registers)) = line.trim().split_once(": ") else {
            continue;
        };
        let Some((name, sub)) = which.split_once(' ') else {
            continue;
        };
        if number(name) != Some(function) || number(sub.trim()) != Some(0) {
            continue;
        }
        let mut leaf = Leaf::default();
        for register in registers.split_whitespace() {
            let (name, value) = register.split_once('=')?;
            let value = number(value)?;
            match name {
                "eax" => leaf.eax = value,
                "ebx" => leaf.ebx = value,
                "ecx" => leaf.ecx = value,
                "edx" => leaf.edx = value,
                _ => return None,
            }
        }
        return Some(leaf);
    }
    Some(Leaf::default())
}

/// "api 1.55 build 24"
fn saved_version(text: &str) -> Option<FirmwareVersion> {
    let mut words = text.split_whitespace();
    let (_, api, _, build) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let (major, minor) = api.split_once('.')?;
    Some(FirmwareVersion {
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        build: build.parse().ok()?,
    })
}
