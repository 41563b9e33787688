//! How what devices write gets to memory and to the interrupt controller: PCI's root complexes, SMMUs and ITSs, with the
//! numbers by which each knows a device.

use alloc::vec::Vec;
use core::ops::Range;

use crate::Interrupt;

/// An Interrupt Translation Service of the GIC (IHI 0069, 5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Its {
    /// Its registers: 128 KiB.
    pub registers: Range<u64>,
}

/// A System MMU, version 3 (IHI 0070).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Smmu {
    /// Its registers: 128 KiB.
    pub registers: Range<u64>,
    /// Events are in the queue.
    pub event: Option<Interrupt>,
    /// Page requests are in the queue.
    pub page_request: Option<Interrupt>,
    /// A CMD_SYNC is complete.
    pub sync: Option<Interrupt>,
    /// An error of its own.
    pub error: Option<Interrupt>,
    /// Whether its own accesses, to tables and queues, are coherent with the CPUs' caches.
    pub is_coherent: bool,
}

/// A run of numbers that become others, one by one, on the way to a unit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdMap {
    /// What comes in: requester IDs of PCI functions.
    pub input: Range<u32>,
    /// What the first of them becomes: a stream of an SMMU, or a device of an ITS.
    pub output: u32,
    /// Which of the platform's SMMUs, or of its ITSs: an index.
    pub unit: usize,
}

impl IdMap {
    /// What `input` becomes; `None` if it does not go this way.
    ///
    /// ```
    /// let map = droste_platform::IdMap { input: 0x100..0x200, output: 0x1_0100, unit: 0 };
    /// assert_eq!(map.output_of(0x108), Some(0x1_0108));
    /// assert_eq!(map.output_of(0x200), None);
    /// ```
    pub fn output_of(&self, input: u32) -> Option<u32> {
        let is_in = self.input.contains(&input);
        is_in.then(|| {
            self.output
                .wrapping_add(input.wrapping_sub(self.input.start))
        })
    }
}

/// PCI devices behind one window of configuration space (ECAM).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RootComplex {
    /// PCI segment, or domain.
    pub segment: u32,
    /// Its buses.
    pub buses: Range<u32>,
    /// Configuration space, from the first of its buses.
    pub ecam: Range<u64>,
    /// Requester IDs that pass an SMMU, and as which streams. Others pass none.
    pub streams: Vec<IdMap>,
    /// Requester IDs that reach an ITS, and as which of its devices.
    pub messages: Vec<IdMap>,
}

/// CPUs and memory that are near to each other. Where the description has no nodes there is none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    /// Its number in the description.
    pub number: u32,
    /// MPIDR affinities of its CPUs, in the description's order.
    pub cpus: Vec<u64>,
    /// Its memory, by address.
    pub memory: Vec<Range<u64>>,
}

impl Node {
    /// The node `number` of `nodes`, which is made if it is not there; they stay in the order of their numbers.
    pub fn of(nodes: &mut Vec<Self>, number: u32) -> &mut Self {
        let found = nodes.binary_search_by_key(&number, |node| node.number);
        let at = found.unwrap_or_else(|at| {
            let new = Self {
                number,
                cpus: Vec::new(),
                memory: Vec::new(),
            };
            nodes.insert(at, new);
            at
        });
        &mut nodes[at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_made_once_and_nodes_stay_in_order() {
        let mut nodes = Vec::new();
        for (number, cpu) in [(7, 1), (2, 2), (7, 3), (u32::MAX, 4)] {
            Node::of(&mut nodes, number).cpus.push(cpu);
        }
        let seen: Vec<_> = nodes.iter().map(|n| (n.number, n.cpus.clone())).collect();
        let expected = [(2, &[2][..]), (7, &[1, 3]), (u32::MAX, &[4])];
        assert_eq!(seen, expected.map(|(n, cpus)| (n, cpus.to_vec())));
    }

    #[test]
    fn an_id_outside_a_run_does_not_go_its_way() {
        let map = IdMap {
            input: 0xfff0..u32::MAX,
            output: u32::MAX - 1,
            unit: 0,
        };
        assert_eq!(map.output_of(0xffef), None);
        assert_eq!(map.output_of(0xfff0), Some(u32::MAX - 1));
        assert_eq!(
            map.output_of(0xfff2),
            Some(0),
            "numbers wrap, and nothing panics"
        );
        assert_eq!(map.output_of(u32::MAX), None);
    }
}
