//! What AT gives, by plain arithmetic on bits: it shares no code with what it judges, and knows no types of descriptors.
//!
//! Stage 2 in here is a table of 1 GiB blocks at level 1, its root of 512 descriptors and its registers of no concern.

/// What L1 is shown, as fields of identification registers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of a register"
)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Shown {
    pub(super) physical_bits: u32,
    pub(super) has_4k: bool,
    pub(super) has_16k: bool,
    pub(super) has_64k: bool,
    pub(super) hafdbs: u64,
    pub(super) hpds: bool,
    pub(super) pan: u64,
    pub(super) small_tables: bool,
    pub(super) lva: bool,
    pub(super) e0pd: bool,
    pub(super) xs: bool,
}

/// The instruction and the registers.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a field of a register"
)]
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    /// op1, CRm and op2 of the instruction.
    pub(super) at: (u8, u8, u8),
    pub(super) va: u64,
    pub(super) e2h: bool,
    pub(super) tge: bool,
    pub(super) dc: bool,
    pub(super) vm: bool,
    pub(super) ptw: bool,
    pub(super) pan: bool,
    pub(super) sctlr: u64,
    pub(super) tcr: u64,
    pub(super) ttbr0: u64,
    pub(super) ttbr1: u64,
    pub(super) mair: u64,
}

/// What is to be expected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Answer {
    /// The page, ATTR and SH; `None` where a reserved encoding leaves the choice, or both stages have a say.
    Page(u64, Option<(u8, u8)>),
    /// PAR_EL1\[9:1\]: S, PTW, 0 and FST.
    Fault(u64),
    /// FST of an abort.
    Abort(u64),
}

const ADDRESS_SIZE: u64 = 0x00;
const TRANSLATION: u64 = 0x04;
const ACCESS_FLAG: u64 = 0x08;
const PERMISSION: u64 = 0x0c;
const EXTERNAL: u64 = 0x14;
const STAGE_2: u64 = 0x100;
const ON_WALK: u64 = 0x180;

type Memory<'a> = &'a dyn Fn(u64) -> Option<u64>;

fn bits(value: u64, high: u32, low: u32) -> u64 {
    let mut result = 0;
    for bit in (low..=high).rev() {
        result = result * 2 + (value / (1u64 << bit)) % 2;
    }
    result
}

fn bit(value: u64, at: u32) -> bool {
    bits(value, at, at) == 1
}

/// Bits \[47:low\] where they stand.
fn address(value: u64, low: u32) -> u64 {
    bits(value, 47, low) << low
}

fn fits(address: u64, width: u32) -> bool {
    u128::from(address) < 1u128 << width
}

pub(super) fn answer(q: &Question, shown: &Shown, stage_2_root: u64, memory: Memory) -> Answer {
    let both = q.at.0 == 4 && q.at.1 == 8 && q.at.2 >= 4;
    let of_el2 = q.at.0 == 4 && !both || q.e2h && q.tge;
    let translates_twice = !of_el2 && (q.vm || q.dc);
    let stage_2 = translates_twice.then_some(stage_2_root);
    let (output, memory_type) = match stage_1(q, shown, of_el2, stage_2, memory) {
        Ok(found) => found,
        Err(answer) => return answer,
    };
    if !both || !translates_twice {
        return Answer::Page(output & 0x00ff_ffff_ffff_f000, memory_type);
    }
    match second(shown, stage_2_root, output, q.at.2 % 2 == 1, memory) {
        Ok((output, _)) => Answer::Page(output & 0x00ff_ffff_ffff_f000, None),
        Err(code) if code & 0x3c == EXTERNAL => Answer::Abort(code),
        Err(code) => Answer::Fault(code | STAGE_2),
    }
}

type Found = (u64, Option<(u8, u8)>);

fn stage_1(
    q: &Question,
    shown: &Shown,
    of_el2: bool,
    stage_2: Option<u64>,
    memory: Memory,
) -> Result<Found, Answer> {
    let alone = of_el2 && !q.e2h;
    let upper = bit(q.va, 55) && !alone;
    let pick = |lower: u32, higher: u32| bit(q.tcr, if upper { higher } else { lower });
    let tbi = if alone { bit(q.tcr, 20) } else { pick(37, 38) };
    let top = if tbi { 55 } else { 63 };

    let forced_off = !of_el2 && (q.tge || q.dc);
    if forced_off || !bit(q.sctlr, 0) {
        if bits(q.va, top, shown.physical_bits) != 0 {
            return Err(Answer::Fault(ADDRESS_SIZE));
        }
        let cacheable = !of_el2 && q.dc && !(q.e2h && q.tge);
        let kind = if cacheable { (0xff, 0) } else { (0, 2) };
        return Ok((bits(q.va, 55, 0), Some(kind)));
    }

    let Some((page, width)) = start(q, shown, alone, upper, top) else {
        return Err(Answer::Fault(TRANSLATION));
    };
    let stride = page - 3;
    let levels = (width - page).div_ceil(stride);
    let mut level = u64::from(4 - levels);
    let mut low = page + stride * (levels - 1);
    let ps = if alone {
        bits(q.tcr, 18, 16)
    } else {
        bits(q.tcr, 34, 32)
    };
    let outputs = [32, 36, 40, 42, 44, 48, 52, 56][ps as usize]
        .min(shown.physical_bits)
        .min(48);
    let ttbr = if upper { q.ttbr1 } else { q.ttbr0 };
    let mut table = address(ttbr, 0) / (8 << (width - low)) * (8 << (width - low));
    if !fits(table, outputs) {
        return Err(Answer::Fault(ADDRESS_SIZE));
    }
    let mut high = width - 1;
    let hpd = shown.hpds && if alone { bit(q.tcr, 24) } else { pick(41, 42) };
    let (mut table_ro, mut table_priv, mut table_uxn) = (false, false, false);
    loop {
        let code = |kind: u64| Err(Answer::Fault(kind + level));
        let mut at = table + 8 * bits(q.va, high, low);
        if let Some(root) = stage_2 {
            at = match second(shown, root, at, false, memory) {
                Ok((_, true)) if q.ptw => return Err(Answer::Fault(PERMISSION + 1 + ON_WALK)),
                Ok((to, _)) => to,
                Err(code) if code & 0x3c == EXTERNAL => return Err(Answer::Abort(code)),
                Err(code) => return Err(Answer::Fault(code | ON_WALK)),
            };
        }
        let Some(word) = memory(at) else {
            return Err(Answer::Abort(EXTERNAL + level));
        };
        let word = if bit(q.sctlr, 25) {
            u64::from_be_bytes(word.to_le_bytes())
        } else {
            word
        };
        if !bit(word, 0) {
            return code(TRANSLATION);
        }
        if bit(word, 1) && level < 3 {
            if !hpd {
                table_ro |= bit(word, 62);
                table_priv |= bit(word, 61) && !alone;
                table_uxn |= bit(word, 60);
            }
            table = address(word, page);
            if !fits(table, outputs) {
                return code(ADDRESS_SIZE);
            }
            level += 1;
            high = low - 1;
            low -= stride;
            continue;
        }
        let is_block = level == 2 || level == 1 && page == 12;
        if !bit(word, 1) && !is_block {
            return code(TRANSLATION);
        }
        if !fits(address(word, low), outputs) {
            return code(ADDRESS_SIZE);
        }
        if !bit(word, 10) && !updates(q, shown, alone).0 {
            return code(ACCESS_FLAG);
        }

        let tables = [table_ro, table_priv, table_uxn];
        if !permitted(q, shown, word, tables) {
            return code(PERMISSION);
        }
        let output = address(word, low) + bits(q.va, low - 1, 0);
        let attr = q.mair.to_le_bytes()[bits(word, 4, 2) as usize];
        return Ok((
            output,
            reported(attr, bits(word, 9, 8), bit(q.sctlr, 2), shown),
        ));
    }
}

/// Bits of a page and of an address, where a walk can start.
fn start(q: &Question, shown: &Shown, alone: bool, upper: bool, top: u32) -> Option<(u32, u32)> {
    let page = page_bits(q, shown, upper)?;
    let txsz = if upper {
        bits(q.tcr, 21, 16)
    } else {
        bits(q.tcr, 5, 0)
    };
    let least = if shown.lva && page == 16 { 12 } else { 16 };
    let most = match (shown.small_tables, page) {
        (false, _) => 39,
        (true, 16) => 47,
        (true, _) => 48,
    };
    if txsz < least || txsz > most {
        return None;
    }
    let width = 64 - txsz as u32;
    for above in width..=top {
        if bit(q.va, above) != upper {
            return None;
        }
    }
    let pick = |lower: u32, higher: u32| bit(q.tcr, if upper { higher } else { lower });
    if !alone && (pick(7, 23) || is_el0s(q) && shown.e0pd && pick(55, 56)) {
        return None;
    }
    Some((page, width))
}

fn is_el0s(q: &Question) -> bool {
    matches!(q.at, (0, 8, 2 | 3) | (4, 8, 6 | 7))
}

/// By read and write, privileged and not, as tables of the manual have them; `tables` say read-only, not EL0's, and UXN.
fn permitted(q: &Question, shown: &Shown, word: u64, tables: [bool; 3]) -> bool {
    let alone = q.at.0 == 4 && !q.e2h && q.at.2 < 2;
    let [table_ro, table_priv, table_uxn] = tables;
    let managed = updates(q, shown, alone).1 && bit(word, 51);
    let (mut pr, mut pw, mut ur, mut uw) = match (bit(word, 7) && !managed, bit(word, 6)) {
        (false, false) => (true, true, false, false),
        (false, true) => (true, true, true, true),
        (true, false) => (true, false, false, false),
        (true, true) => (true, false, true, false),
    };
    if table_ro {
        (pw, uw) = (false, false);
    }
    if table_priv {
        (ur, uw) = (false, false);
    }
    let ux = !(bit(word, 54) || table_uxn);
    let heeds_pan = q.at.0 == 0 && q.at.1 == 9;
    let epan = shown.pan >= 3 && bit(q.sctlr, 57);
    if !alone && heeds_pan && q.pan && (ur || uw || epan && ux) {
        (pr, pw) = (false, false);
    }
    let (r, w) = if is_el0s(q) { (ur, uw) } else { (pr, pw) };
    if q.at.2 % 2 == 1 { w } else { r }
}

/// HA and HD.
fn updates(q: &Question, shown: &Shown, alone: bool) -> (bool, bool) {
    let (ha, hd) = if alone { (21, 22) } else { (39, 40) };
    let ha = shown.hafdbs >= 1 && bit(q.tcr, ha);
    (ha, ha && shown.hafdbs >= 2 && bit(q.tcr, hd))
}

fn page_bits(q: &Question, shown: &Shown, upper: bool) -> Option<u32> {
    let asked = if upper {
        [0, 14, 12, 16][bits(q.tcr, 31, 30) as usize]
    } else {
        [12, 16, 14, 0][bits(q.tcr, 15, 14) as usize]
    };
    let sizes = [(12, shown.has_4k), (14, shown.has_16k), (16, shown.has_64k)];
    let has = |page: u32| sizes.contains(&(page, true));
    if has(asked) {
        return Some(asked);
    }
    sizes.into_iter().find(|size| size.1).map(|size| size.0)
}

/// ATTR and SH for a field of MAIR and the descriptor's SH; `None` for reserved fields.
fn reported(attr: u8, sh: u64, cached: bool, shown: &Shown) -> Option<(u8, u8)> {
    let is_device = attr < 0x10;
    let of_xs = matches!(attr, 0x01 | 0x05 | 0x09 | 0x0d | 0x40 | 0xa0);
    let reserved = of_xs && !shown.xs
        || is_device && attr % 4 > 1
        || !is_device && matches!(attr % 16, 0) && !of_xs;
    if is_device && !reserved {
        return Some((attr, 2));
    }
    if reserved && (cached || is_device) {
        return None;
    }
    let attr = if cached { attr } else { 0x44 };
    if attr == 0x44 || attr == 0x40 {
        return Some((attr, 2));
    }
    (sh != 1).then_some((attr, sh as u8))
}

/// The second stage: the output and whether it is Device memory.
fn second(
    shown: &Shown,
    root: u64,
    ipa: u64,
    write: bool,
    memory: Memory,
) -> Result<(u64, bool), u64> {
    if !fits(ipa, 39) {
        return Err(TRANSLATION);
    }
    let word = memory(root + 8 * bits(ipa, 38, 30)).ok_or(EXTERNAL + 1)?;
    if bits(word, 1, 0) != 1 {
        return Err(TRANSLATION + 1);
    }
    if !fits(address(word, 30), shown.physical_bits.min(40)) {
        return Err(ADDRESS_SIZE + 1);
    }
    if !bit(word, 10) {
        return Err(ACCESS_FLAG + 1);
    }
    if !bit(word, if write { 7 } else { 6 }) {
        return Err(PERMISSION + 1);
    }
    let output = address(word, 30) + bits(ipa, 29, 0);
    Ok((output, bits(word, 5, 4) == 0))
}
