//! A vCPU that changes worlds without the lock of its VM's GIC as long as nothing is going on, beside two that interrupt
//! it and take that back: the protocol of `droste_vdev::gic`'s module `quiet`, with the kicks of `droste-life`.

use droste_arm64::esr::AccessSize::Word;
use droste_life::Kick;
use droste_vdev::gic::{Frame, Gic, GicConfig, Intid, Kicks, MAX_LIST_REGISTERS, Vmcr};

use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use shuttle::sync::{Arc, Mutex};

use crate::in_orders;

const SCHEDULES: usize = 2_000;
/// Changes of worlds, and what each of the others does meanwhile.
const SWITCHES: u64 = 6;
const EVENTS: u64 = 4;
/// The one that changes worlds.
const OWNER: usize = 0;
const ALL_ON: Vmcr = Vmcr(0xff00_0003);
const SPI: usize = 40;
/// Registers of the distributor, at the word of the SPI, and its bit there.
const GROUP: u64 = 0x84;
const ENABLE: u64 = 0x104;
const DISABLE: u64 = 0x184;
const CLEAR_PENDING: u64 = 0x284;
const SET_ACTIVE: u64 = 0x304;
const CLEAR_ACTIVE: u64 = 0x384;
const BIT: u64 = 1 << (SPI % 32);

/// What the GIC's lock protects.
struct Locked {
    gic: Gic,
    /// Kicks of the owner that changes have given cause for.
    causes: u64,
}

/// What is the owner's own, on its CPU.
struct Own {
    lists: [u64; MAX_LIST_REGISTERS],
    used: usize,
    is_quiet: bool,
    /// Of the causes those that it has looked at.
    seen: u64,
}

struct World {
    locked: Mutex<Locked>,
    kick: Kick,
    /// The interrupt that tells the owner's CPU of a kick.
    interrupt: AtomicBool,
    /// The last of the causes whose kick has been given.
    told: AtomicU64,
    own: Mutex<Own>,
    /// Changes of worlds without the lock, of all schedules: of the test and of none of them.
    quietly: Arc<std::sync::atomic::AtomicU64>,
}

impl World {
    fn new(quietly: Arc<std::sync::atomic::AtomicU64>) -> Arc<Self> {
        let config = GicConfig {
            vcpus: 3,
            spis: 32,
            list_registers: 4,
        };
        let mut gic = Gic::new(config).expect("there are such");
        for (offset, value) in [(0, 0b10), (GROUP, BIT), (ENABLE, BIT)] {
            let _ = gic.write(OWNER, Frame::Distributor, offset, Word, value);
        }
        Arc::new(Self {
            locked: Mutex::new(Locked { gic, causes: 0 }),
            kick: Kick::new(),
            interrupt: AtomicBool::new(false),
            told: AtomicU64::new(0),
            own: Mutex::new(Own {
                lists: [0; MAX_LIST_REGISTERS],
                used: 0,
                is_quiet: true,
                seen: 0,
            }),
            quietly,
        })
    }

    /// Another vCPU changes something under the lock, and kicks behind it.
    fn change(&self, change: impl FnOnce(&mut Gic) -> Kicks) {
        let cause = {
            let mut locked = self.locked.lock().expect("no test goes on after a panic");
            if !change(&mut locked.gic).contains(OWNER) {
                return;
            }
            locked.causes += 1;
            locked.causes
        };
        if self.kick.give() {
            self.interrupt.store(true, Ordering::SeqCst);
        }
        self.told.fetch_max(cause, Ordering::SeqCst);
    }

    /// The owner's CPU takes the interrupt, if there is one.
    fn take_interrupt(&self, own: &mut Own) {
        if self.interrupt.swap(false, Ordering::SeqCst) && self.kick.take() {
            self.look(own);
        }
    }

    /// Folds and fills.
    fn look(&self, own: &mut Own) {
        let mut locked = self.locked.lock().expect("no test goes on after a panic");
        own.seen = locked.causes;
        let gic = &mut locked.gic;
        let _ = gic.fold(OWNER, &own.lists, 0);
        while gic.take_deactivation(OWNER).is_some() {}
        own.used = gic.fill(OWNER, ALL_ON, &mut own.lists).used;
        own.is_quiet = gic.is_quiet(OWNER);
    }

    /// A change of worlds.
    fn switch(&self, own: &mut Own) {
        let told = self.told.load(Ordering::SeqCst);
        if !own.is_quiet || self.kick.is_given() {
            self.look(own);
            return;
        }
        assert!(told <= own.seen, "it was told, and does not look");
        assert_eq!(own.used, 0, "something is listed");
        self.quietly.fetch_add(1, Ordering::Relaxed);
    }
}

impl Own {
    /// The guest takes what is listed, and ends it.
    fn end(&mut self) {
        const STATE: u64 = 0b11 << 62;
        for list in &mut self.lists[..self.used] {
            *list &= !STATE;
        }
    }
}

fn run(cpu: usize, world: &World) {
    let write = |gic: &mut Gic, offset| gic.write(cpu, Frame::Distributor, offset, Word, BIT);
    if cpu == OWNER {
        let mut own = world.own.lock().expect("no test goes on after a panic");
        for n in 0..SWITCHES {
            world.take_interrupt(&mut own);
            world.switch(&mut own);
            if n % 2 != 0 {
                own.end();
            }
        }
        return;
    }
    let spi = Intid::new(SPI as u32).expect("below 1020");
    for n in 0..EVENTS {
        world.change(|gic| match (cpu, n) {
            (1, 0 | 2) => gic.pend(cpu, spi),
            (1, 1) => write(gic, DISABLE),
            (1, _) => write(gic, ENABLE),
            (_, 0) => write(gic, SET_ACTIVE),
            (_, 1) => write(gic, CLEAR_ACTIVE),
            (_, 2) => write(gic, CLEAR_PENDING),
            _ => gic.pend(cpu, spi),
        });
    }
}

/// The last interrupt is taken.
fn end(world: &World) {
    let mut own = world.own.lock().expect("no test goes on after a panic");
    world.take_interrupt(&mut own);
    let locked = world.locked.lock().expect("no test goes on after a panic");
    assert_eq!(own.seen, locked.causes, "it has looked at all");
    assert!(
        !own.is_quiet || locked.gic.is_quiet(OWNER),
        "it takes itself for quiet"
    );
}

#[test]
fn who_changes_worlds_without_the_lock_misses_nothing_of_which_it_was_told() {
    let quietly: Arc<std::sync::atomic::AtomicU64> = Arc::default();
    let of_all = Arc::clone(&quietly);
    in_orders(SCHEDULES, move || World::new(of_all.clone()), run, end);
    assert_ne!(
        quietly.load(Ordering::Relaxed),
        0,
        "each change of worlds had the lock"
    );
}
