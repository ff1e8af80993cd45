// SPDX-License-Identifier: GPL-2.0

//! A host that is ready, in files below a directory, for tests to take one thing from.

use object::write::Object;
use object::{Architecture, BinaryFormat, Endianness, SectionKind};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Release of its kernel.
pub const RELEASE: &str = "7.3.4+deb13-amd64";

/// Build IDs, in hexadecimal digits.
pub const KVM_AMD: &str = "1111111111111111111111111111111111111111";
pub const KVM: &str = "2222222222222222222222222222222222222222";
pub const VMLINUX: &str = "3333333333333333333333333333333333333333";
pub const OTHER: &str = "4444444444444444444444444444444444444444";

/// SEV, SEV-ES and SEV-SNP, as CPUID has them.
pub const ALL_KINDS: u32 = 0b1_1010;

/// The host.
pub struct Saved {
    directory: TempDir,
}

impl Saved {
    /// One on which nothing is bad and nothing unknown.
    pub fn ready() -> Self {
        let host = Self {
            directory: tempfile::tempdir().expect("a directory"),
        };
        host.cpuid(ALL_KINDS, 100);
        host.write("sev-status", "api 1.55 build 24\n");
        host.write("dev/sev", "");
        host.write("proc/sys/kernel/osrelease", &format!("{RELEASE}\n"));
        host.write("proc/sys/kernel/ftrace_enabled", "1\n");
        host.flags("svm sev sev_es sev_snp");
        host.write("sys/kernel/tracing/enabled_functions", "");
        host.write("sys/kernel/tracing/available_filter_functions", "");
        host.write(
            "sys/kernel/security/lockdown",
            "[none] integrity confidentiality\n",
        );
        host.write("sys/module/ccp/initstate", "live\n");
        host.parameter("module", "sig_enforce", "N");
        host.parameter("kvm", "mmio_caching", "Y");
        for name in ["npt", "sev", "sev_es", "sev_snp"] {
            host.parameter("kvm_amd", name, "Y");
        }
        host.write_bytes("sys/kernel/notes", &note(VMLINUX));
        host.write_bytes(
            "sys/module/kvm_amd/notes/.note.gnu.build-id",
            &note(KVM_AMD),
        );
        host.write_bytes("sys/module/kvm/notes/.note.gnu.build-id", &note(KVM));
        host.write(
            &format!("boot/config-{RELEASE}"),
            "CONFIG_RUST=y\nCONFIG_LIVEPATCH=y\nCONFIG_DYNAMIC_FTRACE_WITH_JMP=y\nCONFIG_KALLSYMS_ALL=y\n\
             CONFIG_VMCORE_INFO=y\nCONFIG_KVM_AMD=m\nCONFIG_KVM_AMD_SEV=y\nCONFIG_X86_KERNEL_IBT=y\n",
        );
        host.module(RELEASE, [KVM_AMD, KVM, VMLINUX]);
        host
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Makes a file anew.
    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    /// The same.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.path().join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("a directory");
        fs::write(path, bytes).expect("a file");
    }

    /// Takes a file or a directory away.
    pub fn remove(&self, path: &str) {
        let path = self.path().join(path);
        if path.is_dir() {
            fs::remove_dir_all(path)
        } else {
            fs::remove_file(path)
        }
        .expect("something to remove");
    }

    /// Sets a module's parameter.
    pub fn parameter(&self, module: &str, name: &str, value: &str) {
        self.write(
            &format!("sys/module/{module}/parameters/{name}"),
            &format!("{value}\n"),
        );
    }

    /// What the processor has of SEV, and its lowest ASID for SEV alone.
    pub fn cpuid(&self, kinds: u32, lowest: u32) {
        self.write(
            "cpuid",
            &format!(
                "CPU:\n   0x00000007 0x00: eax=0x00000000 ebx=0x00100000 ecx=0x00000000 edx=0x00000000\n   \
                 0x8000000a 0x00: eax=0x00000001 ebx=0x00008000 ecx=0x00000000 edx=0x119b9cff\n   \
                 0x8000001f 0x00: eax={kinds:#010x} ebx=0x00004173 ecx=0x000001fd edx={lowest:#010x}\n"
            ),
        );
    }

    /// The processor's flags as the kernel shows them.
    pub fn flags(&self, flags: &str) {
        self.write(
            "proc/cpuinfo",
            &format!("processor\t: 0\nmodel name\t: AMD EPYC 7313\nflags\t\t: fpu {flags} smap\n"),
        );
    }

    /// Turns an option of the kernel's configuration into another line.
    pub fn option(&self, from: &str, to: &str) {
        self.replace(&format!("boot/config-{RELEASE}"), from, to);
    }

    /// Puts other text into a file, in place of some that it has.
    pub fn replace(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path().join(path)).expect("a file");
        assert!(text.contains(from), "{from}");
        self.write(path, &text.replace(from, to));
    }

    /// Where the module is.
    pub fn module_path(&self) -> PathBuf {
        self.path().join(module_name())
    }

    /// Makes the module anew: for a kernel, and by the build IDs of kvm_amd, kvm and vmlinux.
    pub fn module(&self, release: &str, [kvm_amd, kvm, vmlinux]: [&str; 3]) {
        let info = format!(
            "license=GPL\0kvm_amd_build_id={kvm_amd}\0kvm_build_id={kvm}\0vmlinux_build_id={vmlinux}\0\
             vermagic={release} SMP preempt mod_unload \0"
        );
        self.write_bytes(&module_name(), &elf(&info, OTHER));
    }

    /// Signs the module. The signature, of something else, was made by `openssl cms -sign -binary -noattr -nocerts` with a
    /// certificate whose common name is "DKMS module signing key".
    pub fn sign(&self) {
        let signature = include_bytes!("../signature.der");
        let mut bytes = fs::read(self.module_path()).expect("a module");
        bytes.extend_from_slice(signature);
        bytes.extend_from_slice(&[0, 0, 2, 0, 0, 0, 0, 0]);
        bytes.extend_from_slice(
            &u32::try_from(signature.len())
                .expect("a size")
                .to_be_bytes(),
        );
        bytes.extend_from_slice(b"~Module signature appended~\n");
        fs::write(self.module_path(), bytes).expect("a file");
    }
}

fn module_name() -> String {
    format!("lib/modules/{RELEASE}/updates/dkms/ghcb_rs.ko")
}

/// An ELF note with a build ID.
pub fn note(id: &str) -> Vec<u8> {
    let mut note = b"\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0".to_vec();
    note.extend((0..20).map(|at| u8::from_str_radix(&id[2 * at..2 * at + 2], 16).expect("digits")));
    note
}

/// A module in which there is only what it says of itself, and its build ID.
pub fn elf(info: &str, id: &str) -> Vec<u8> {
    let mut file = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
    for (name, kind, data) in [
        (".modinfo", SectionKind::ReadOnlyData, info.as_bytes()),
        (".note.gnu.build-id", SectionKind::Note, note(id).as_slice()),
    ] {
        let section = file.add_section(Vec::new(), name.into(), kind);
        file.append_section_data(section, data, 4);
    }
    file.write().expect("an ELF file")
}
