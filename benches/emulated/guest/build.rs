// SPDX-License-Identifier: GPL-2.0
//! Link without C library and start files, at the address where the VMM loads the image.

fn main() {
    let folder = std::env::var("CARGO_MANIFEST_DIR").expect("cargo sets the folder");
    let script = format!("{folder}/../../../selftests/guest/link.ld");
    for argument in [
        "-nostdlib",
        "-nostartfiles",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        &format!("-Wl,-T,{script}"),
    ] {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed={script}");
    println!("cargo:rerun-if-changed=build.rs");
}
