//! The pseudo-random number generator of a simulation. The same seed always gives the same numbers.

/// `SplitMix64` (Steele, Lea and Flood, 2014), which is small and fast. It is implemented here, so
/// that no update of a dependency changes the meaning of a seed.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// A generator with this seed.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn throw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to `sides` - 1. `sides` must not be 0.
    pub fn roll(&mut self, sides: usize) -> usize {
        assert!(sides > 0, "sides must not be 0");
        // The bias of the modulus is negligible for so few sides.
        (self.throw() % sides as u64) as usize
    }

    /// True once in `times`, on average.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    /// One of these elements. `of` must not be empty.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    /// 128 bits.
    pub fn random_u128(&mut self) -> u128 {
        u128::from(self.throw()) << 64 | u128::from(self.throw())
    }

    /// A separate generator, so that more draws from one do not change the draws of the other.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.throw())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From the reference implementation with seed 1234567.
    #[test]
    fn the_generator_gives_the_numbers_of_the_reference() {
        let mut prng = Prng::seeded(1_234_567);
        let thrown = [prng.throw(), prng.throw(), prng.throw()];
        let reference =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(thrown, reference);
    }
}
