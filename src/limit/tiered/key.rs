//! Fingerprints: how buckets are found without a string being built.
//!
//! A bucket's key is a keyed 128-bit hash of what it is about, under two keys that are drawn when the limiter is made. Nobody
//! who does not know them can look for names that meet, in the map or in a fingerprint; by chance two of a thousand million
//! names meet in one of 10^20 limiters.

use super::Tier;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::hash::{BuildHasherDefault, DefaultHasher};

/// What a fingerprint is taken of, told apart by the first byte.
#[derive(Clone, Copy, Debug)]
#[repr(u8)]
pub(super) enum Kind {
    Pattern,
    Normal,
    Server,
    Majors,
    Resource,
    SubResource,
    User,
}

/// The secret keys.
#[derive(Debug, Default)]
pub(super) struct Keyer {
    low: RandomState,
    high: RandomState,
}

impl Keyer {
    pub(super) fn print(&self, kind: Kind, write: impl FnOnce(&mut Writer)) -> u128 {
        let (low, high) = (self.low.build_hasher(), self.high.build_hasher());
        let mut writer = Writer { low, high, pending: [0; PENDING], filled: 0 };
        writer.write_u8(kind as u8);
        write(&mut writer);
        writer.flush();
        u128::from(writer.high.finish()) << 64 | u128::from(writer.low.finish())
    }
}

/// Takes in what a fingerprint is of.
pub(super) struct Writer {
    low: DefaultHasher,
    high: DefaultHasher,
    /// What neither has seen yet: a few long pieces cost them less than many short ones.
    pending: [u8; PENDING],
    filled: usize,
}

const PENDING: usize = 64;

impl Writer {
    /// A text, and where it ends: no text contains the byte that `str` puts behind itself.
    pub(super) fn text(&mut self, text: &str) {
        text.hash(self);
    }

    /// A method: in capital letters, without another string.
    pub(super) fn method(&mut self, method: &str) {
        for letter in method.bytes() {
            self.write_u8(letter.to_ascii_uppercase());
        }
        self.write_u8(u8::MAX);
    }

    fn flush(&mut self) {
        let pending = self.pending.split_at(self.filled).0;
        self.low.write(pending);
        self.high.write(pending);
        self.filled = 0;
    }
}

impl Hasher for Writer {
    fn write(&mut self, bytes: &[u8]) {
        if self.pending.len() - self.filled < bytes.len() {
            self.flush();
        }
        match self.pending.split_at_mut(self.filled).1.split_at_mut_checked(bytes.len()) {
            Some((room, _)) => {
                room.copy_from_slice(bytes);
                self.filled += bytes.len();
            }
            None => {
                self.low.write(bytes);
                self.high.write(bytes);
            }
        }
    }

    fn finish(&self) -> u64 {
        self.low.finish()
    }
}

/// What a bucket is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) tier: Tier,
    /// Of the route, the server's bucket, the resource or the user.
    pub(super) base: u128,
    /// Of the major parameters that split a route; 0 if there are none.
    pub(super) majors: u128,
}

impl Key {
    /// Fingerprints are spread evenly already, and secret.
    pub(super) fn spread(&self) -> u64 {
        (self.base ^ self.majors.rotate_left(64)) as u64 ^ self.tier.index() as u64
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.spread());
    }
}

/// A hasher for what is a hash already.
#[derive(Debug, Default)]
pub(super) struct Through(u64);

pub(super) type BuildThrough = BuildHasherDefault<Through>;

impl Hasher for Through {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write_u128(&mut self, print: u128) {
        self.0 = print as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
