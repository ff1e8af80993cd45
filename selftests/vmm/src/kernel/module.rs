// SPDX-License-Identifier: GPL-2.0
//! Modules of the host's kernel.

use std::ffi::CString;
use std::fs::File;
use std::io::{Error, Result};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Insert the module in `file`.
pub fn insert(file: &Path, parameters: &str) -> Result<()> {
    let file = File::open(file)?;
    let parameters = CString::new(parameters)?;
    // SAFETY: Plain system call; the kernel reads the file and the string.
    let status = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    result(status)
}

/// Ask the kernel once to take the module `name` out.
pub fn remove(name: &str) -> Result<()> {
    let name = CString::new(name)?;
    // SAFETY: Plain system call; the kernel reads the string.
    let status = unsafe { libc::syscall(libc::SYS_delete_module, name.as_ptr(), libc::O_NONBLOCK) };
    result(status)
}

fn result(status: libc::c_long) -> Result<()> {
    if status == 0 {
        Ok(())
    } else {
        Err(Error::last_os_error())
    }
}
