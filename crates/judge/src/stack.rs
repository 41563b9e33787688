//! Who called: return addresses, found by the chain of frame records that X29 begins (AAPCS64, 6.4.6 "The Frame Pointer").
//!
//! Code need not keep the chain, and X29 may hold anything. So a return address counts only where the instruction before it
//! is a call, and frames lie further and further up. A function without a frame of its own is passed over: its caller is
//! told, or the caller of that.
//!
//! Many events have the same callers. Each place that calls, under those above it, is told once and has a number.

use std::collections::HashMap;

/// Callers that are told of one event.
pub(crate) const DEEPEST: usize = 24;
/// Places that are numbered; callers of what comes later are not told.
pub(crate) const MOST: usize = 1 << 18;
/// A frame is no further above the one that it called than a stack is large.
const REACH: u64 = 1 << 20;
/// Bits of a virtual address. Those above are all as bit 55 is, or a signature (DDI 0487, D8.10 "Pointer authentication").
const ADDRESS_BITS: u32 = 48;

/// A frame record: that of the caller, and where the function returns to.
pub type Record = [u64; 2];

/// What the CPU that is asked about finds at a virtual address: two words.
pub type Memory<'a> = &'a dyn Fn(u64) -> Option<Record>;

/// Places that call, as they were told.
#[derive(Debug, Default)]
pub(crate) struct Stacks {
    numbers: HashMap<(u32, u64), u32>,
    /// Whether the instruction before an address is a call.
    calls: HashMap<u64, bool>,
}

impl Stacks {
    /// The callers of a function whose frame is at `frame`, the innermost first.
    pub(crate) fn callers(&mut self, mut frame: u64, memory: Memory<'_>) -> Vec<u64> {
        let mut callers = Vec::new();
        while callers.len() < DEEPEST && frame != 0 && frame.is_multiple_of(8) {
            let Some([next, to]) = memory(frame) else {
                break;
            };
            let to = without_signature(to);
            if !self.is_after_a_call(to, memory) {
                break;
            }
            callers.push(to);
            if next <= frame || next - frame > REACH {
                break;
            }
            frame = next;
        }
        callers
    }

    /// The number of these callers, and those places that are new, as numbers of those above with their addresses.
    pub(crate) fn number(&mut self, callers: &[u64]) -> (u32, Vec<(u32, u64)>) {
        let mut new = Vec::new();
        let mut above = 0;
        for &place in callers.iter().rev() {
            let key = (above, place);
            above = match self.numbers.get(&key) {
                Some(&number) => number,
                None if self.numbers.len() == MOST => return (0, new),
                None => {
                    let number = self.numbers.len() as u32 + 1;
                    self.numbers.insert(key, number);
                    new.push(key);
                    number
                }
            };
        }
        (above, new)
    }

    fn is_after_a_call(&mut self, to: u64, memory: Memory<'_>) -> bool {
        if !to.is_multiple_of(4) || to < 16 {
            return false;
        }
        if let Some(&known) = self.calls.get(&to) {
            return known;
        }
        // In two halves of 8 bytes, of which the last 4 are the instruction before.
        let is_call = memory(to - 16).is_some_and(|[_, last]| is_call((last >> 32) as u32));
        // Code is seldom changed, and garbage is without end.
        if self.calls.len() < MOST {
            self.calls.insert(to, is_call);
        }
        is_call
    }
}

/// BL, or BLR of any kind (DDI 0487, C4.1.94 "Branches, Exception Generating and System instructions").
const fn is_call(word: u32) -> bool {
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xfeff_f000 == 0xd63f_0000
}

const fn without_signature(address: u64) -> u64 {
    const LOW: u64 = (1 << ADDRESS_BITS) - 1;
    if address >> 55 & 1 == 0 {
        address & LOW
    } else {
        address | !LOW
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    const CODE: u64 = 0xffff_8000_8001_0000;
    const STACK: u64 = 0xffff_8000_9000_0000;
    const BL: u64 = 0x9400_0010;
    const BLR: u64 = 0xd63f_0100;
    const BLRAAZ: u64 = 0xd63f_091f;

    /// Code that calls at the given places, and a stack.
    fn memory(calls: &[(u64, u64)], stack: &[(u64, Record)]) -> BTreeMap<u64, Record> {
        let code = calls
            .iter()
            .map(|&(to, call)| (to - 16, [0, call << 32 | 0xd503_201f]));
        code.chain(stack.iter().copied()).collect()
    }

    fn callers(frame: u64, memory: &BTreeMap<u64, Record>) -> Vec<u64> {
        Stacks::default().callers(frame, &|at| memory.get(&at).copied())
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let calls = [(CODE, BL), (CODE + 0x40, BLR), (CODE + 0x80, BLRAAZ)];
        let stack = [
            (STACK, [STACK + 0x20, CODE]),
            (STACK + 0x20, [STACK + 0x60, CODE + 0x40]),
            (STACK + 0x60, [0, CODE + 0x80]),
        ];
        let memory = memory(&calls, &stack);
        assert_eq!(callers(STACK, &memory), [CODE, CODE + 0x40, CODE + 0x80]);
        assert_eq!(callers(STACK + 0x20, &memory).len(), 2);
        assert!(callers(0, &memory).is_empty());
        assert!(callers(STACK + 4, &memory).is_empty());
    }

    #[test]
    fn a_return_address_may_be_signed() {
        let signed = CODE & !(0x7f << 48) | 0x2a << 48;
        let memory = memory(&[(CODE, BL)], &[(STACK, [0, signed])]);
        assert_eq!(callers(STACK, &memory), [CODE]);
        let low = 0x4008_1230;
        let memory = self::memory(&[(low, BL)], &[(STACK, [0, low | 0x15 << 48])]);
        assert_eq!(callers(STACK, &memory), [low]);
    }

    #[test]
    fn what_is_no_chain_ends_it() {
        // Not after a call; not there; down the stack; in a circle; too far.
        let calls = [(CODE, BL), (CODE + 0x40, 0xd503_201f)];
        for (next, to, count) in [
            (STACK + 0x20, CODE + 0x40, 0),
            (STACK + 0x20, CODE + 0x80, 0),
            (STACK + 0x20, CODE + 2, 0),
            (STACK - 0x20, CODE, 1),
            (STACK, CODE, 1),
            (STACK + (2 << 20), CODE, 1),
        ] {
            let stack = [
                (STACK, [next, to]),
                (STACK - 0x20, [0, CODE]),
                (STACK + (2 << 20), [0, CODE]),
            ];
            assert_eq!(callers(STACK, &memory(&calls, &stack)).len(), count);
        }
    }

    #[test]
    fn a_chain_without_end_is_cut() {
        let stacks = &mut Stacks::default();
        let endless = |at: u64| Some([at + 16, CODE]).filter(|_| at >= STACK);
        let code = |at| (at == CODE - 16).then_some([0, BL << 32]);
        let found = stacks.callers(STACK, &|at| code(at).or_else(|| endless(at)));
        assert_eq!(found, [CODE; DEEPEST]);
    }

    #[test]
    fn each_place_is_new_once_under_those_above_it() {
        let mut stacks = Stacks::default();
        assert_eq!(stacks.number(&[]), (0, vec![]));
        assert_eq!(stacks.number(&[1, 2]), (2, vec![(0, 2), (1, 1)]));
        assert_eq!(stacks.number(&[1, 2]), (2, vec![]));
        assert_eq!(stacks.number(&[3, 2]), (3, vec![(1, 3)]));
        assert_eq!(stacks.number(&[1]), (4, vec![(0, 1)]));
    }
}
