//! Dice: the only chance in a simulated world. The same seed throws the same numbers for ever.

/// `SplitMix64` (Steele, Lea and Flood, 2014): small, fast, and written out here so that no new
/// version of anything changes what a seed means.
#[derive(Clone, Debug)]
pub struct Prng(u64);

impl Prng {
    /// The dice of this seed.
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

    /// A number from 0 to below `sides`, of which there must be some.
    pub fn roll(&mut self, sides: usize) -> usize {
        assert!(sides > 0, "dice have sides");
        // The bias of a modulus is of no account with so few sides.
        (self.throw() % sides as u64) as usize
    }

    /// True once in so many times.
    pub fn one_in(&mut self, times: usize) -> bool {
        self.roll(times) == 0
    }

    /// One of these, of which there must be some.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    /// 128 bits.
    pub fn random_u128(&mut self) -> u128 {
        u128::from(self.throw()) << 64 | u128::from(self.throw())
    }

    /// Dice of their own, so that throwing one pair more does not change what another throws.
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
    fn the_dice_throw_what_the_reference_throws() {
        let mut prng = Prng::seeded(1_234_567);
        let thrown = [prng.throw(), prng.throw(), prng.throw()];
        let reference =
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!(thrown, reference);
    }
}
