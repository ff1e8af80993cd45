// SPDX-License-Identifier: GPL-2.0

//! What QEMU or libvirt call a guest.

use std::fs;
use std::path::Path;

/// The name of the guest that a process runs, if it has one. Files of the host are below `root`.
pub fn of(root: &Path, pid: u32) -> Option<String> {
    let line = fs::read(root.join(format!("proc/{pid}/cmdline"))).unwrap_or_default();
    let arguments: Vec<_> = line
        .split(|&byte| byte == 0)
        .map(String::from_utf8_lossy)
        .collect();
    let qemu = arguments
        .windows(2)
        .find(|pair| matches!(&*pair[0], "-name" | "--name"))
        .and_then(|pair| in_option(&pair[1]));
    qemu.or_else(|| by_libvirt(root, pid))
}

/// The name in "NAME,debug-threads=on" or "debug-threads=on,guest=NAME", where a comma in it is doubled.
fn in_option(option: &str) -> Option<String> {
    let mut name = None;
    for (at, part) in option.replace(",,", "\0").split(',').enumerate() {
        match part.split_once('=') {
            Some(("guest", value)) => name = Some(value.to_owned()),
            None if at == 0 => name = Some(part.to_owned()),
            _ => {}
        }
    }
    let name = name?.replace('\0', ",");
    (!name.is_empty()).then_some(name)
}

/// libvirt keeps the process ID of a guest NAME in /run/libvirt/DRIVER/NAME.pid.
fn by_libvirt(root: &Path, pid: u32) -> Option<String> {
    let drivers = fs::read_dir(root.join("run/libvirt")).ok()?;
    let mut names: Vec<_> = drivers
        .flatten()
        .filter_map(|driver| fs::read_dir(driver.path()).ok())
        .flatten()
        .flatten()
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            let name = name.strip_suffix(".pid")?.to_owned();
            let text = fs::read_to_string(file.path()).ok()?;
            (text.trim().parse() == Ok(pid)).then_some(name)
        })
        .collect();
    names.sort();
    names.into_iter().next()
}
