//! The checksums that the AWS SDK for Amazon S3 computes, under the names of the crate that it computes them with. `Cargo.toml` puts
//! this one in its place (`[patch.crates-io]`): that one brings 600 kB of tables for algorithms that S3 does not have into each
//! Lambda function, for a speed that objects of some megabytes do not need.

#![forbid(unsafe_code)]

use std::fmt;

use crc::{CRC_32_ISCSI, CRC_32_ISO_HDLC, CRC_64_NVME, Crc, Table};

static CRC32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);
static CRC32C: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISCSI);
static CRC64_NVME: Crc<u64, Table<1>> = Crc::<u64, Table<1>>::new(&CRC_64_NVME);

/// The algorithms that S3 knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrcAlgorithm {
    /// CRC-32, as in ZIP.
    Crc32IsoHdlc,
    /// CRC-32C (Castagnoli).
    Crc32Iscsi,
    /// CRC-64 of NVMe, the default of S3.
    Crc64Nvme,
}

/// A checksum of bytes that come one after another.
#[derive(Clone)]
pub struct Digest(State);

#[derive(Clone)]
enum State {
    Crc32(crc::Digest<'static, u32, Table<1>>),
    Crc64(crc::Digest<'static, u64, Table<1>>),
}

impl Digest {
    /// A checksum of no bytes yet.
    #[must_use]
    pub fn new(algorithm: CrcAlgorithm) -> Self {
        Self(match algorithm {
            CrcAlgorithm::Crc32IsoHdlc => State::Crc32(CRC32.digest()),
            CrcAlgorithm::Crc32Iscsi => State::Crc32(CRC32C.digest()),
            CrcAlgorithm::Crc64Nvme => State::Crc64(CRC64_NVME.digest()),
        })
    }

    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.0 {
            State::Crc32(digest) => digest.update(bytes),
            State::Crc64(digest) => digest.update(bytes),
        }
    }

    /// The checksum; one of 32 bits is in the low ones.
    #[must_use]
    pub fn finalize(self) -> u64 {
        match self.0 {
            State::Crc32(digest) => u64::from(digest.finalize()),
            State::Crc64(digest) => digest.finalize(),
        }
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

#[cfg(test)]
mod tests {
    use super::{CrcAlgorithm, Digest};

    /// The check values of the catalogue of parametrised CRC algorithms.
    #[test]
    fn checksums_are_those_that_s3_expects() {
        for (algorithm, check) in [
            (CrcAlgorithm::Crc32IsoHdlc, 0xcbf4_3926),
            (CrcAlgorithm::Crc32Iscsi, 0xe306_9283),
            (CrcAlgorithm::Crc64Nvme, 0xae8b_1486_0a79_9888),
        ] {
            let mut digest = Digest::new(algorithm);
            digest.update(b"1234");
            digest.update(b"56789");
            assert_eq!(digest.finalize(), check, "{algorithm:?}");
        }
    }
}
