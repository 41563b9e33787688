//! Random numbers of the CPU (FEAT_RNG).

use core::arch::asm;

use super::mrs;

/// How often one that is not ready is asked for.
const TRIES: usize = 16;

/// As many as make a key; nothing where the CPU has none, or none that is ready.
pub(crate) fn words() -> Option<[u64; 4]> {
    let has_rng = mrs!("id_aa64isar0_el1") >> 60 != 0;
    if !has_rng {
        return None;
    }
    let mut words = [0; 4];
    for word in &mut words {
        *word = (0..TRIES).find_map(|_| word_if_ready())?;
    }
    Some(words)
}

/// RNDR: Z says that there was none in time (DDI 0487, "RNDR").
fn word_if_ready() -> Option<u64> {
    let (word, is_ready): (u64, u64);
    // SAFETY: the caller has seen FEAT_RNG; the instruction changes the flags, which the compiler is told.
    unsafe {
        asm!("mrs {}, s3_3_c2_c4_0", "cset {}, ne", out(reg) word, out(reg) is_ready, options(nomem, nostack));
    }
    (is_ready != 0).then_some(word)
}
