//! An SMMU taken over, commanded and heard, on a board that does as an SMMU does and can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use droste_arm64::smmu::Scope;
use droste_arm64::{Granule, Ipa, Pa, Vmid, Vtcr};
use droste_smmu::{
    Board, CommandError, Error, Leaves, Manner, Missing, Patience, Register, Smmu, Stage2, Ste,
    StreamId, Told,
};

/// What happened, in order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Did {
    Wrote(u32, u64),
    Stored(u64, u64),
    Dsb,
    Consumed(u64, u64),
}

/// How it fails.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
enum Trouble {
    #[default]
    None,
    /// A register is not followed.
    Deaf(Register),
    /// Nothing is consumed.
    Hung,
    /// Commands of this number are illegal.
    Illegal(u64),
    /// The first fetches abort: so many.
    Aborts(u32),
}

#[derive(Default, Debug)]
struct Fake {
    registers: RefCell<BTreeMap<u32, u32>>,
    memory: RefCell<BTreeMap<u64, u64>>,
    did: RefCell<Vec<Did>>,
    next: Cell<u64>,
    trouble: Cell<Trouble>,
    aborted: Cell<u32>,
    command_base: Cell<u64>,
}

const PAGES_END: u64 = 0x9000_0000;

impl Fake {
    fn new() -> Self {
        let fake = Self::default();
        fake.next.set(0x8000_0000);
        for (register, value) in [
            (
                Register::IDR0,
                1 | 2 << 2 | 1 << 4 | 1 << 9 | 2 << 21 | 1 << 24 | 1 << 27,
            ),
            (Register::IDR1, 16 | 3 << 16 | 4 << 21),
            (Register::IDR3, 1 << 10),
            (Register::IDR5, 5 | 7 << 4),
            (Register::AIDR, 1),
        ] {
            fake.set(register, value);
        }
        fake
    }

    fn get(&self, register: Register) -> u32 {
        self.registers
            .borrow()
            .get(&register.0)
            .copied()
            .unwrap_or(0)
    }

    fn set(&self, register: Register, value: u32) {
        self.registers.borrow_mut().insert(register.0, value);
    }

    /// Consumes commands as far as it may.
    fn run(&self) {
        let log2 = 4;
        while self.get(Register::CR0) & 8 != 0 && self.trouble.get() != Trouble::Hung {
            let standing = self.get(Register::GERROR) ^ self.get(Register::GERRORN);
            let (producer, consumer) = (
                self.get(Register::CMDQ_PROD),
                self.get(Register::CMDQ_CONS) & 0x1f,
            );
            if standing & 1 != 0 || producer == consumer {
                return;
            }
            let did = self.did.borrow().len();
            assert!(did < 100_000, "commands are consumed for ever");
            let at = self.command_base.get() + u64::from(consumer & 15) * 16;
            let word = |offset| {
                self.memory
                    .borrow()
                    .get(&(at + offset))
                    .copied()
                    .unwrap_or(0)
            };
            let (first, second) = (word(0), word(8));
            let error = match self.trouble.get() {
                Trouble::Illegal(number) if first & 0xff == number => 1,
                Trouble::Aborts(times) if self.aborted.get() < times => {
                    self.aborted.set(self.aborted.get() + 1);
                    2
                }
                _ => 0,
            };
            if error != 0 {
                self.set(Register::CMDQ_CONS, consumer | error << 24);
                self.set(Register::GERROR, self.get(Register::GERROR) ^ 1);
                return;
            }
            self.did.borrow_mut().push(Did::Consumed(first, second));
            self.set(Register::CMDQ_CONS, (consumer + 1) & ((2 << log2) - 1));
        }
    }

    fn consumed(&self) -> Vec<u64> {
        let did = self.did.borrow();
        did.iter()
            .filter_map(|did| match did {
                Did::Consumed(first, _) => Some(first & 0xff),
                _ => None,
            })
            .collect()
    }

    fn forget_the_past(&self) {
        self.did.borrow_mut().clear();
    }
}

impl Board for &Fake {
    fn read(&self, register: Register) -> u32 {
        self.get(register)
    }

    fn write(&self, register: Register, value: u32) {
        self.did
            .borrow_mut()
            .push(Did::Wrote(register.0, value.into()));
        let is_deaf = self.trouble.get() == Trouble::Deaf(register);
        let kept = if register == Register::GBPA && !is_deaf {
            value & !(1 << 31)
        } else {
            value
        };
        self.set(register, kept);
        let follower = match register {
            Register::CR0 => Some(Register::CR0ACK),
            Register::IRQ_CTRL => Some(Register::IRQ_CTRLACK),
            _ => None,
        };
        if let Some(follower) = follower.filter(|_| !is_deaf) {
            self.set(follower, value);
        }
        self.run();
    }

    fn write_wide(&self, register: Register, value: u64) {
        self.did.borrow_mut().push(Did::Wrote(register.0, value));
        if register == Register::CMDQ_BASE {
            self.command_base.set(value & 0x000f_ffff_ffff_ffe0);
        }
    }

    fn load(&self, at: Pa) -> u64 {
        self.memory.borrow().get(&at.0).copied().unwrap_or(0xdead)
    }

    fn store(&self, at: Pa, value: u64) {
        self.did.borrow_mut().push(Did::Stored(at.0, value));
        self.memory.borrow_mut().insert(at.0, value);
    }

    fn dsb(&self) {
        self.did.borrow_mut().push(Did::Dsb);
    }

    fn pause(&self, turn: u32) -> Patience {
        if turn < 100 {
            Patience::Left
        } else {
            Patience::Over
        }
    }

    fn take(&self, bytes: u64) -> Option<Pa> {
        let at = self.next.get().next_multiple_of(bytes);
        self.next.set(at + bytes);
        (at + bytes <= PAGES_END).then_some(Pa(at))
    }
}

fn taken(fake: &Fake) -> Smmu<&Fake> {
    let smmu = Smmu::take_over(fake, Manner::Batched).expect("it answers");
    fake.forget_the_past();
    smmu
}

const TABLE: Stage2 = Stage2 {
    vmid: Vmid(7),
    vtcr: Vtcr(0x8005_3559),
    root: Pa(0x7000_0000),
    leaves: Leaves::Combined,
};

#[test]
fn what_the_firmware_left_on_is_terminated_stopped_and_emptied_in_this_order() {
    let fake = Fake::new();
    for (register, value) in [
        (Register::CR0, 0xd),
        (Register::CR0ACK, 0xd),
        (Register::IRQ_CTRL, 5),
        (Register::IRQ_CTRLACK, 5),
        (Register::CMDQ_PROD, 9),
        (Register::CMDQ_CONS, 9),
        (Register::GERROR, 4),
    ] {
        fake.set(register, value);
    }
    Smmu::take_over(&fake, Manner::Batched).expect("it answers");
    let did = fake.did.borrow();
    let at = |wanted: Did| {
        let place = did.iter().position(|&did| did == wanted);
        place.unwrap_or_else(|| panic!("{wanted:?} is missing in {did:?}"))
    };
    let wrote = |register: Register, value| at(Did::Wrote(register.0, value));
    let order = [
        wrote(Register::GBPA, 1 << 31 | 1 << 20),
        wrote(Register::CR0, 0),
        wrote(Register::CMDQ_PROD, 0),
        wrote(Register::GERRORN, 4),
        wrote(Register::CR0, 8),
        at(Did::Consumed(0x04, 31)),
        at(Did::Consumed(0x20, 0)),
        at(Did::Consumed(0x30, 0)),
        at(Did::Consumed(0x46, 0)),
        wrote(Register::CR0, 0xc),
        wrote(Register::CR0, 0xd),
    ];
    assert!(order.is_sorted(), "{order:?}");
    let base = did.iter().find_map(|did| match did {
        Did::Wrote(0x80, base) => Some(base & !(1 << 62)),
        _ => None,
    });
    // 16 bits of StreamIDs in parts of 64: 1024 descriptors, all zero, before anything is on.
    let base = base.expect("STRTAB_BASE is written");
    for entry in 0..1024 {
        assert!(at(Did::Stored(base + entry * 8, 0)) < order[4]);
    }
    wrote(Register::STRTAB_BASE_CFG, 1 << 16 | 6 << 6 | 16);
    wrote(Register::CR2, 1 << 2 | 1 << 1);
    wrote(Register::CR1, 0b1101_0111_0101);
}

#[test]
fn an_smmu_that_does_not_answer_is_an_error_and_stays_off() {
    for register in [Register::GBPA, Register::CR0, Register::IRQ_CTRL] {
        let fake = Fake::new();
        fake.set(Register::CR0ACK, 1);
        fake.set(Register::IRQ_CTRLACK, 1);
        fake.trouble.set(Trouble::Deaf(register));
        let error = Smmu::take_over(&fake, Manner::Batched).expect_err("it is deaf");
        assert_eq!(error, Error::NoAnswer(register));
        assert_eq!(fake.get(Register::CR0) & 1, 0, "translation is not on");
    }
    let fake = Fake::new();
    fake.trouble.set(Trouble::Hung);
    let error = Smmu::take_over(&fake, Manner::Batched).expect_err("it hangs");
    assert_eq!(error, Error::Stuck);
    assert_eq!(fake.get(Register::CR0) & 1, 0);
    assert_eq!(fake.get(Register::GBPA), 1 << 20);
}

#[test]
fn an_smmu_of_no_use_is_not_touched() {
    let fake = Fake::new();
    fake.set(Register::IDR0, 0);
    let error = Smmu::take_over(&fake, Manner::Batched).expect_err("it has no stage 2");
    assert_eq!(error, Error::Missing(Missing::Stage2));
    let fake = Fake::new();
    fake.set(Register::GERROR, 1 << 8);
    let error = Smmu::take_over(&fake, Manner::Batched).expect_err("it has failed");
    assert_eq!(error, Error::Missing(Missing::Service));
    assert!(fake.did.borrow().is_empty());
    let fake = Fake::new();
    fake.next.set(PAGES_END);
    let error = Smmu::take_over(&fake, Manner::Batched).expect_err("no memory is left");
    assert_eq!(error, Error::NoMemory);
    assert!(fake.did.borrow().is_empty());
}

#[test]
fn a_batch_is_published_once_behind_a_barrier_with_one_sync() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    for page in [0, 9, 77] {
        let scope = Scope::Range {
            from: Ipa(page << 12),
            pages: 1,
            granule: Granule::Kib4,
            leaf: None,
        };
        smmu.invalidate(Vmid(7), scope).expect("there is room");
    }
    assert_eq!(fake.consumed(), []);
    smmu.sync().expect("it is consumed");
    assert_eq!(fake.consumed(), [0x2a, 0x2a, 0x2a, 0x46]);
    let did = fake.did.borrow();
    let published: Vec<_> = (0..did.len())
        .filter(|&at| matches!(did[at], Did::Wrote(0x98, _)))
        .collect();
    assert_eq!(published.len(), 1);
    assert_eq!(did[published[0] - 1], Did::Dsb);
}

#[test]
fn the_queue_wraps_many_times_and_nothing_is_lost() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    for round in 0..40 {
        for _ in 0..round {
            smmu.invalidate(Vmid(7), Scope::All)
                .expect("there is room, or comes");
        }
        smmu.sync().expect("it is consumed");
        let mut expected = vec![0x28; round];
        expected.push(0x46);
        assert_eq!(fake.consumed(), expected);
        fake.forget_the_past();
    }
}

#[test]
fn errata_bring_a_sync_behind_each_or_everything_twice() {
    for (manner, expected) in [
        (Manner::Batched, &[0x28, 0x28, 0x46][..]),
        (Manner::SyncEach, &[0x28, 0x46, 0x28, 0x46, 0x46]),
        (Manner::Twice, &[0x28, 0x46, 0x28, 0x28, 0x46, 0x28, 0x46]),
    ] {
        let fake = Fake::new();
        let mut smmu = Smmu::take_over(&fake, manner).expect("it answers");
        fake.forget_the_past();
        for _ in 0..2 {
            smmu.invalidate(Vmid(7), Scope::All).expect("there is room");
        }
        smmu.sync().expect("it is consumed");
        assert_eq!(fake.consumed(), expected, "{manner:?}");
    }
}

#[test]
fn an_illegal_command_is_replaced_by_the_widest_of_its_kind() {
    for (number, wider) in [(0x2a, 0x30), (0x28, 0x30), (0x03, 0x04)] {
        let fake = Fake::new();
        let mut smmu = taken(&fake);
        fake.trouble.set(Trouble::Illegal(number));
        let scope = Scope::Range {
            from: Ipa(0),
            pages: 1,
            granule: Granule::Kib4,
            leaf: None,
        };
        smmu.invalidate(Vmid(7), scope).expect("there is room");
        smmu.invalidate(Vmid(7), Scope::All).expect("there is room");
        smmu.set_stream(StreamId(3), &Ste::ABORT)
            .expect("it goes on");
        assert!(smmu.replaced() >= 1);
        let consumed = fake.consumed();
        assert!(
            consumed.contains(&wider) && !consumed.contains(&number),
            "{consumed:x?}"
        );
        assert_eq!(fake.get(Register::GERROR), fake.get(Register::GERRORN));
    }
    // Nothing is wider than these.
    for number in [0x46, 0x30, 0x04] {
        let fake = Fake::new();
        fake.trouble.set(Trouble::Illegal(number));
        let error = Smmu::take_over(&fake, Manner::Batched).expect_err("it knows no command");
        assert_eq!(error, Error::Command(CommandError::Illegal));
    }
}

#[test]
fn a_fetch_that_aborts_is_tried_again_but_not_for_ever() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    fake.trouble.set(Trouble::Aborts(5));
    smmu.sync().expect("the sixth time it can be read");
    fake.trouble.set(Trouble::Aborts(u32::MAX));
    assert_eq!(smmu.sync(), Err(Error::Command(CommandError::Abort)));
}

#[test]
fn a_hung_queue_ends_the_wait_for_room_too() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    fake.trouble.set(Trouble::Hung);
    let mut given = 0;
    let error = loop {
        match smmu.invalidate(Vmid(7), Scope::All) {
            Ok(()) => {
                given += 1;
                assert!(given < 1000, "the queue has an end");
            }
            Err(error) => break error,
        }
    };
    assert_eq!((given, error), (16, Error::Stuck));
}

/// The stores to an entry, the barriers, and what was consumed.
fn told(fake: &Fake, entry: u64) -> Vec<Did> {
    let did = fake.did.borrow();
    let queue = fake.command_base.get();
    did.iter()
        .copied()
        .filter(|did| match did {
            Did::Stored(at, _) => (entry..entry + 64).contains(at) && *at < queue + 0x1_0000_0000,
            Did::Dsb | Did::Consumed(..) => true,
            Did::Wrote(..) => false,
        })
        .collect()
}

#[test]
fn an_entry_changes_in_the_architected_steps_only() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    let stream = StreamId(0x108);
    smmu.set_stream(stream, &Ste::ABORT).expect("there is room");
    let memory = fake.memory.borrow().clone();
    let link = memory
        .values()
        .find(|&&value| value & 0x1f == 7 && value >> 31 == 1);
    let entry = (link.expect("the part is linked") & !0x1f) + 8 * 64;
    fake.forget_the_past();
    let new = Ste::stage2(&TABLE);
    smmu.set_stream(stream, &new).expect("there is room");
    let told = told(&fake, entry);
    let cfgi = Did::Consumed(0x03 | 0x108 << 32, 0);
    let sync = Did::Consumed(0x46, 0);
    let at = |wanted: Did, from: usize| {
        let place = told[from..].iter().position(|&did| did == wanted);
        from + place.unwrap_or_else(|| panic!("{wanted:?} is missing in {told:?}"))
    };
    let broken = at(Did::Stored(entry, 0), 0);
    let visible = at(Did::Dsb, broken);
    let forgotten = at(sync, at(cfgi, visible));
    let first_of_rest = at(Did::Stored(entry + 8, new.0[1]), 0);
    assert!(forgotten < first_of_rest);
    let last_of_rest = at(Did::Stored(entry + 56, 0), first_of_rest);
    let made = at(Did::Stored(entry, new.0[0]), last_of_rest);
    assert!(told[last_of_rest..made].contains(&Did::Dsb));
    let visible = at(Did::Dsb, made);
    let known = at(sync, at(cfgi, visible));
    assert_eq!(known, told.len() - 1);
}

#[test]
fn streams_share_a_part_and_those_outside_are_refused() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    let before = fake.next.get();
    smmu.set_stream(StreamId(0), &Ste::ABORT)
        .expect("there is room");
    smmu.set_stream(StreamId(63), &Ste::stage2(&TABLE))
        .expect("there is room");
    assert_eq!(fake.next.get() - before.next_multiple_of(4096), 4096);
    smmu.set_stream(StreamId(64), &Ste::ABORT)
        .expect("there is room");
    assert_eq!(fake.next.get() - before.next_multiple_of(4096), 8192);
    let outside = StreamId(1 << 16);
    assert_eq!(
        smmu.set_stream(outside, &Ste::ABORT),
        Err(Error::NoSuchStream(outside))
    );
}

#[test]
fn events_come_in_order_and_a_full_queue_says_so_once() {
    let fake = Fake::new();
    let mut smmu = taken(&fake);
    assert_eq!(smmu.next_event(), None);
    // The queue has 8 places, 32 bytes each, behind that for commands.
    let base = 0x8000_0100;
    let mut number = 0_u64;
    for round in 0..5_u32 {
        let consumer = fake.get(Register::EVENTQ_CONS) & 15;
        let count = round + 3;
        for index in 0..count {
            let place = u64::from((consumer + index) & 7);
            fake.memory.borrow_mut().extend((0..4).map(|word| {
                let at = base + place * 32 + word * 8;
                (
                    at,
                    if word == 0 {
                        0x10 | (number + u64::from(index)) << 32
                    } else {
                        0
                    },
                )
            }));
        }
        let overflow = if round == 4 { 1 << 31 } else { 0 };
        fake.set(Register::EVENTQ_PROD, (consumer + count) & 15 | overflow);
        for _ in 0..count {
            let Some(Told::Event(event)) = smmu.next_event() else {
                panic!("an event is there");
            };
            assert_eq!(u64::from(event.stream().0), number);
            number += 1;
        }
        let lost = (round == 4).then_some(Told::Lost);
        assert_eq!(smmu.next_event(), lost);
        assert_eq!(smmu.next_event(), None);
    }
    assert!(!smmu.take_event_abort());
    fake.set(Register::GERROR, fake.get(Register::GERROR) ^ 4);
    assert!(smmu.take_event_abort() && !smmu.take_event_abort());
}
