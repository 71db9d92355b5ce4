//! Secrets, which are never printed and are wiped from memory when they are dropped.

use core::fmt;
use std::sync::Arc;

use zeroize::{Zeroize, Zeroizing};

/// A secret. `Debug` shows only `Secret`, and comparison takes constant time. It has one place on
/// the heap, which its clones share and the last clone wipes. Moving or cloning a secret copies no
/// byte of it.
pub struct Secret<T: Zeroize>(Arc<Zeroizing<T>>);

/// Key material of 32 bytes.
pub type Key32 = Secret<[u8; 32]>;

impl Secret<Vec<u8>> {
    /// Wraps bytes without copying them.
    #[must_use]
    pub fn new(value: Vec<u8>) -> Self {
        Self(Arc::new(Zeroizing::new(value)))
    }
}

impl<const N: usize> Secret<[u8; N]> {
    /// Copies bytes directly to the heap, because an array that is passed by value leaves a copy on
    /// the stack. The caller must wipe the original.
    #[must_use]
    pub fn copied(value: &[u8; N]) -> Self {
        let mut place = Arc::new(Zeroizing::new([0; N]));
        let bytes = Arc::get_mut(&mut place).expect("a new Arc has no clone");
        bytes.copy_from_slice(value);
        Self(place)
    }
}

impl<T: Zeroize> Secret<T> {
    /// The secret value, for the one call that needs it.
    #[must_use]
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        subtle::ConstantTimeEq::ct_eq(self.expose().as_ref(), other.expose().as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

#[cfg(test)]
mod tests {
    use core::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    /// Counts how often it is wiped.
    struct Witness(Arc<AtomicU32>);

    impl Zeroize for Witness {
        fn zeroize(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_secret_moves_as_a_pointer_and_its_clones_have_no_bytes_of_their_own() {
        assert_eq!(size_of::<Key32>(), size_of::<usize>());
        let first = Key32::copied(&[7; 32]);
        let place: *const [u8; 32] = first.expose();
        let second = first.clone();
        let moved = Box::new(first);
        assert!(core::ptr::eq(moved.expose(), place) && core::ptr::eq(second.expose(), place));
    }

    #[test]
    fn the_last_clone_wipes_it_and_it_is_wiped_once() {
        let wiped = Arc::new(AtomicU32::new(0));
        let secret = Secret(Arc::new(Zeroizing::new(Witness(wiped.clone()))));
        let clone = secret.clone();
        drop(secret);
        assert_eq!(wiped.load(Ordering::Relaxed), 0);
        drop(clone);
        assert_eq!(wiped.load(Ordering::Relaxed), 1);
    }

    /// Compiles only if `Key32` is not `Copy`: otherwise the choice between the two implementations
    /// is ambiguous.
    #[test]
    fn a_secret_is_not_copy() {
        trait AmbiguousIfCopy<A> {
            fn check() {}
        }
        impl<T> AmbiguousIfCopy<()> for T {}
        impl<T: Copy> AmbiguousIfCopy<u8> for T {}
        <Key32 as AmbiguousIfCopy<_>>::check();
    }

    #[test]
    fn secrets_are_equal_by_their_bytes_and_say_nothing_in_debug() {
        assert_eq!(Key32::copied(&[7; 32]), Key32::copied(&[7; 32]));
        assert_ne!(Key32::copied(&[7; 32]), Key32::copied(&[8; 32]));
        assert_eq!(format!("{:?}", Secret::new(b"PIN".to_vec())), "Secret");
    }
}
