// SPDX-License-Identifier: GPL-2.0

//! Files as distributions pack them: modules, and the kernel's configuration.

use std::io::{self, Read as _};

/// What is packed in `bytes`, by gzip, xz or zstd, which its first bytes tell; else `bytes` themselves.
///
/// # Errors
///
/// InvalidData if it is damaged.
pub fn unpacked(bytes: Vec<u8>) -> io::Result<Vec<u8>> {
    let mut plain = Vec::new();
    match bytes.as_slice() {
        [0x1f, 0x8b, ..] => {
            flate2::read::GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain)?;
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            lzma_rs::xz_decompress(&mut bytes.as_slice(), &mut plain).map_err(|error| {
                io::Error::new(io::ErrorKind::InvalidData, format!("{error:?}"))
            })?;
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            ruzstd::decoding::StreamingDecoder::new(bytes.as_slice())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?
                .read_to_end(&mut plain)?;
        }
        _ => return Ok(bytes),
    }
    Ok(plain)
}
