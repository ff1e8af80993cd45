// SPDX-License-Identifier: GPL-2.0
//! Random numbers that come again with the same seed.

/// xorshift64*: small, and the same everywhere.
#[derive(Clone)]
pub struct Random(u64);

impl Random {
    /// Begin at `seed`.
    pub fn new(seed: u64) -> Self {
        // Neighbours among seeds begin far apart: one step of splitmix64.
        let mut state = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
        // Zero is the generator's fixed point.
        Self(state.max(1))
    }

    /// Any number.
    pub fn word(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`, which is not zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        (self.word() >> 32) % bound
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `list`, which is not empty.
    pub fn choose<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len() as u64) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_seed_is_one_of_its_own() {
        let first = |seed| Random::new(seed).word();
        for seed in 0..100 {
            assert_eq!(first(seed), first(seed));
            assert_ne!(first(seed), first(seed + 1));
        }
    }

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut random = Random::new(1);
        for bound in [1, 2, 3, 100] {
            let list: Vec<_> = (0..1000).map(|_| random.below(bound)).collect();
            assert!(list.iter().all(|number| *number < bound));
            assert!((0..bound).all(|number| list.contains(&number)));
        }
    }
}
