//! Randomness of the machine, for many virtual machines and for each of their lives.

use chacha20::ChaCha20Rng;
use chacha20::rand_core::{Rng, SeedableRng};

const KEY_BYTES: usize = 32;
/// A machine that gives fewer bytes of randomness gives none: what came of them could be tried out.
const LEAST_BYTES: usize = 16;

/// A source of randomness that grows from what the machine gave at boot.
///
/// It keeps a secret key. Each draw derives a new key from it by the stream cipher ChaCha20 (RFC 8439), and the drawn
/// bytes beside that. So to those without the key no two draws are related, nothing is drawn twice, and a key that
/// leaks does not reveal earlier draws.
///
/// ```
/// use droste_resources::Entropy;
/// let mut entropy = Entropy::of(&[&[7; 32]]).expect("as many bytes as a key");
/// let (mut first, mut second) = ([0; 32], [0; 32]);
/// entropy.fill(&mut first);
/// entropy.fill(&mut second);
/// assert_ne!(first, second);
/// assert!(Entropy::of(&[b"few"]).is_none());
/// ```
pub struct Entropy {
    key: [u8; KEY_BYTES],
}

impl Entropy {
    /// A generator seeded with all bytes of all `sources`, in their order; `None` if they are fewer than 16.
    pub fn of(sources: &[&[u8]]) -> Option<Self> {
        let bytes: usize = sources.iter().map(|source| source.len()).sum();
        if bytes < LEAST_BYTES {
            return None;
        }
        let mut entropy = Self {
            key: [0; KEY_BYTES],
        };
        for chunk in sources.iter().flat_map(|source| source.chunks(KEY_BYTES)) {
            entropy.absorb(chunk);
        }
        Some(entropy)
    }

    /// Fills `bytes` with random bytes that are given to nobody else.
    #[inline(never)]
    pub fn fill(&mut self, bytes: &mut [u8]) {
        let mut stream = ChaCha20Rng::from_seed(self.key);
        stream.fill_bytes(&mut self.key);
        stream.fill_bytes(bytes);
    }

    /// Makes a new key of this one and at most as many bytes.
    fn absorb(&mut self, bytes: &[u8]) {
        self.key
            .iter_mut()
            .zip(bytes)
            .for_each(|(key, byte)| *key ^= byte);
        self.fill(&mut []);
    }
}

/// Tells nothing of the key.
impl core::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Entropy")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    extern crate std;
    use std::collections::BTreeSet;

    fn draw(entropy: &mut Entropy) -> [u8; 32] {
        let mut bytes = [0; 32];
        entropy.fill(&mut bytes);
        bytes
    }

    fn drawn(sources: &[&[u8]]) -> [u8; 32] {
        draw(&mut Entropy::of(sources).expect("enough bytes"))
    }

    #[test]
    fn no_draw_is_another_ones_or_the_key_of_any() {
        let mut entropy = Entropy::of(&[&[0; 32]]).expect("enough bytes");
        let mut seen = BTreeSet::new();
        for _ in 0..1000 {
            assert!(seen.insert(entropy.key));
            assert!(seen.insert(draw(&mut entropy)));
        }
    }

    #[test]
    fn what_is_drawn_is_the_cipher_s_stream_behind_the_next_key() {
        // RFC 8439, A.1, test vector 1: the stream of a key of zeros.
        const STREAM: [u8; 64] = [
            0x76, 0xb8, 0xe0, 0xad, 0xa0, 0xf1, 0x3d, 0x90, 0x40, 0x5d, 0x6a, 0xe5, 0x53, 0x86,
            0xbd, 0x28, 0xbd, 0xd2, 0x19, 0xb8, 0xa0, 0x8d, 0xed, 0x1a, 0xa8, 0x36, 0xef, 0xcc,
            0x8b, 0x77, 0x0d, 0xc7, 0xda, 0x41, 0x59, 0x7c, 0x51, 0x57, 0x48, 0x8d, 0x77, 0x24,
            0xe0, 0x3f, 0xb8, 0xd8, 0x4a, 0x37, 0x6a, 0x43, 0xb8, 0xf4, 0x15, 0x18, 0xa1, 0x1c,
            0xc3, 0x87, 0xb6, 0x69, 0xb2, 0xee, 0x65, 0x86,
        ];
        let mut entropy = Entropy { key: [0; 32] };
        let drawn = draw(&mut entropy);
        assert_eq!(entropy.key[..], STREAM[..32]);
        assert_eq!(drawn[..], STREAM[32..]);
    }

    #[test]
    fn every_byte_of_every_source_counts() {
        let sources = [[1_u8; 40], [2; 40]];
        let plain = drawn(&[&sources[0], &sources[1]]);
        assert_eq!(drawn(&[&sources[0], &sources[1]]), plain);
        for (source, byte) in (0..2).flat_map(|source| (0..40).map(move |byte| (source, byte))) {
            let mut other = sources;
            other[source][byte] ^= 0x80;
            assert_ne!(drawn(&[&other[0], &other[1]]), plain, "{source} {byte}");
        }
        assert_ne!(drawn(&[&sources[1], &sources[0]]), plain);
        assert_ne!(drawn(&[&sources[0]]), plain);
    }

    #[test]
    fn a_machine_that_gives_little_gives_nothing() {
        assert!(Entropy::of(&[]).is_none());
        assert!(Entropy::of(&[&[1; 8], &[2; 7]]).is_none());
        assert!(Entropy::of(&[&[1; 8], &[2; 8]]).is_some());
    }
}
