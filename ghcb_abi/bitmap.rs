// SPDX-License-Identifier: GPL-2.0

//! The valid bitmap: which quad words of the page mean anything.

use super::page::{Field, Qword, SharedPage};

/// The valid bitmap, or any other set of fields.
///
/// One bit for each quad word from offset 0x000 to 0x3ff, C: `ghcb_save_area.valid_bitmap`. Bits which
/// belong to no [`Field`] are kept as they came.
///
/// ```
/// use ghcb_abi::{bitmap::ValidBitmap, page::Field};
///
/// let valid = ValidBitmap::of(&[Field::Rax, Field::Rcx]);
/// let needed = ValidBitmap::of(&[Field::Rax, Field::Xcr0]);
/// assert!(valid.contains(Field::Rcx));
/// assert!(!valid.is_superset_of(needed));
/// assert_eq!(valid.missing(needed), ValidBitmap::of(&[Field::Xcr0]));
/// ```
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct ValidBitmap(u128);

impl ValidBitmap {
    /// No field.
    pub const EMPTY: Self = Self(0);

    /// What each request marks: the exit code and both infos.
    pub const EXIT: Self = Self::of(&[Field::SwExitCode, Field::SwExitInfo1, Field::SwExitInfo2]);

    /// What each reply marks: both infos.
    pub const REPLY: Self = Self::of(&[Field::SwExitInfo1, Field::SwExitInfo2]);

    /// Exactly the given fields.
    pub const fn of(fields: &[Field]) -> Self {
        let mut set = Self::EMPTY;
        let mut rest = fields;
        while let [field, tail @ ..] = rest {
            set = set.with(*field);
            rest = tail;
        }
        set
    }

    /// The bitmap with the given bits, bit 0 first.
    #[inline]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// All bits, bit 0 first.
    #[inline]
    pub const fn bits(self) -> u128 {
        self.0
    }

    /// The bitmap made of the quad words at 0x3f0 (`low`) and 0x3f8 (`high`).
    #[inline]
    pub const fn from_words(low: u64, high: u64) -> Self {
        Self(((high as u128) << 64) | low as u128)
    }

    /// The quad words at 0x3f0 and 0x3f8.
    #[inline]
    pub const fn to_words(self) -> (u64, u64) {
        (self.0 as u64, (self.0 >> 64) as u64)
    }

    /// The bitmap in the bytes' order in memory.
    #[inline]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_le_bytes(bytes))
    }

    /// The bytes in their order in memory.
    #[inline]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_le_bytes()
    }

    /// This set and `field`.
    #[inline]
    #[must_use]
    pub const fn with(self, field: Field) -> Self {
        Self(self.0 | (1 << field.index()))
    }

    /// This set without `field`.
    #[inline]
    #[must_use]
    pub const fn without(self, field: Field) -> Self {
        Self(self.0 & !(1 << field.index()))
    }

    /// Adds `field`.
    #[inline]
    pub fn insert(&mut self, field: Field) {
        *self = self.with(field);
    }

    /// Removes `field`.
    #[inline]
    pub fn remove(&mut self, field: Field) {
        *self = self.without(field);
    }

    /// Whether `field` is in the set.
    #[inline]
    pub const fn contains(self, field: Field) -> bool {
        self.0 & (1 << field.index()) != 0
    }

    /// Whether the set has no bit at all.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether all of `other`, over the whole bitmap, is in this set.
    #[inline]
    pub const fn is_superset_of(self, other: Self) -> bool {
        self.missing(other).is_empty()
    }

    /// What of `required` is not in this set.
    #[inline]
    #[must_use]
    pub const fn missing(self, required: Self) -> Self {
        Self(required.0 & !self.0)
    }

    /// What is in either set.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both sets.
    #[inline]
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether a request with this bitmap is one at all: it marks the exit code and both infos.
    #[inline]
    pub const fn is_exit(self) -> bool {
        self.is_superset_of(Self::EXIT)
    }

    /// Number of bits set.
    #[inline]
    pub const fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The named fields in the set, in the order of offsets.
    pub fn fields(self) -> impl Iterator<Item = Field> {
        Field::ALL
            .into_iter()
            .filter(move |field| self.contains(*field))
    }

    /// Reads the bitmap of a page: two accesses.
    #[inline]
    pub fn load<P: SharedPage + ?Sized>(page: &P) -> Self {
        let low = page.load(Qword::VALID_BITMAP_LOW);
        let high = page.load(Qword::VALID_BITMAP_HIGH);
        Self::from_words(low, high)
    }

    /// Writes the bitmap of a page: two accesses.
    #[inline]
    pub fn store<P: SharedPage + ?Sized>(self, page: &P) {
        let (low, high) = self.to_words();
        page.store(Qword::VALID_BITMAP_LOW, low);
        page.store(Qword::VALID_BITMAP_HIGH, high);
    }
}

impl core::fmt::Debug for ValidBitmap {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "ValidBitmap({:#034x}: ", self.0)?;
        f.debug_set().entries(self.fields()).finish()?;
        f.write_str(")")
    }
}
