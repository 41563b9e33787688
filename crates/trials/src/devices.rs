//! A virtual machine with devices: stage 2 on the model's CPU and on its SMMU, which `droste-smmu` drives.
//!
//! Two judges look on: the model of the CPUs' TLBs, and that of the SMMU. What the SMMU is told can be meddled with, to
//! see that they notice.

use std::cell::{Cell, RefCell};
use std::fmt;

use droste_arm64::smmu::{DeviceTlb, Scope, Stuck};
use droste_arm64::{Bbm, Granule, IdRegisters, Ipa, IpaBits, Level, Pa, PaRange, Vmid};
use droste_mmu_model::{self as model, AccessKind, Beside, Cpu, Model, Reach, SmmuViolation};
use droste_smmu::{Board, Leaves, Manner, Patience, Register, Smmu, Stage2, Ste, StreamId};
use droste_stage2::{
    Access, Attached, Attachment, Context, Contexts, Error, Geometry, Owed, PageSupply, Table,
    VcpuId, VmidAllocator, Walk,
};

use crate::supply::Pool;

/// Where tables are: a root, then pages.
const TABLES: u64 = 0x8000_0000;
const PAGES: u64 = 64;
const PAGE: u64 = 0x1000;
/// Where the SMMU's own memory is.
const QUEUES: u64 = 0xa000_0000;
/// The VMID of the table in SMMUs.
const VMID: Vmid = Vmid(5);
/// A command that ends nothing which the trials look at: CMD_TLBI_EL2_ALL.
const HARMLESS: u64 = 0x20;

/// What goes wrong between the hypervisor and its SMMU.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub enum Meddling {
    /// Nothing.
    #[default]
    None,
    /// Commands of this number never come.
    Without(u8),
    /// Every level hint says 3.
    WrongHints,
    /// No range has more than one unit.
    ShortRanges,
    /// Commands name another VMID.
    OtherVmid,
    /// No DSB comes before commands are published.
    NoBarrier,
    /// A valid stream table entry is not made invalid before it changes.
    NoBreak,
    /// CMD_SYNC is not waited for.
    NoWait,
    /// The SMMU is told before the table changes, and not again.
    Early,
    /// The SMMU is not told of changes at all: it shares the table, so the CPUs' invalidations are thought to do.
    Never,
}

/// The SMMU's registers and memory, as `droste-smmu` needs them.
#[derive(Debug)]
struct Wires<'m> {
    smmu: &'m RefCell<model::Smmu>,
    next: Cell<u64>,
    commands: Cell<u64>,
    meddling: &'m Cell<Meddling>,
    /// What the second word of the command that is being written becomes.
    second: Cell<Option<u64>>,
}

impl Wires<'_> {
    fn meddled(&self, at: u64, value: u64) -> u64 {
        let offset = at.wrapping_sub(self.commands.get());
        if self.commands.get() == 0 || offset >= PAGE {
            return value;
        }
        if offset % 16 == 8 {
            let is_hinted = value >> 8 & 3 != 0;
            return match self.meddling.get() {
                Meddling::WrongHints if is_hinted => value | 3 << 8,
                _ => self.second.take().unwrap_or(value),
            };
        }
        match self.meddling.get() {
            Meddling::Without(number) if value & 0xff == u64::from(number) => {
                self.second.set(Some(0));
                HARMLESS
            }
            Meddling::OtherVmid if matches!(value & 0xff, 0x28 | 0x2a) => value ^ 3 << 32,
            Meddling::ShortRanges if value & 0xff == 0x2a => value & !(31 << 12),
            _ => value,
        }
    }
}

impl Board for Wires<'_> {
    fn read(&self, register: Register) -> u32 {
        self.smmu.borrow_mut().register(register.0)
    }

    fn write(&self, register: Register, value: u32) {
        self.smmu
            .borrow_mut()
            .set_register(register.0, value.into());
    }

    fn write_wide(&self, register: Register, value: u64) {
        if register == Register::CMDQ_BASE {
            self.commands.set(value & 0x000f_ffff_ffff_ffe0);
        }
        self.smmu.borrow_mut().set_register(register.0, value);
    }

    fn load(&self, at: Pa) -> u64 {
        let value = self.smmu.borrow().read(at);
        // Only the first word of an entry is ever read to see whether it is valid.
        let is_entry = at.0.is_multiple_of(64) && value & 0xf == 0xd;
        if self.meddling.get() == Meddling::NoBreak && is_entry {
            return value & !1;
        }
        value
    }

    fn store(&self, at: Pa, value: u64) {
        let value = self.meddled(at.0, value);
        self.smmu.borrow_mut().write(0, at, value);
    }

    fn dsb(&self) {
        if self.meddling.get() != Meddling::NoBarrier {
            self.smmu.borrow_mut().dsb(0);
        }
    }

    fn pause(&self, turn: u32) -> Patience {
        if turn < 64 {
            Patience::Left
        } else {
            Patience::Over
        }
    }

    fn take(&self, bytes: u64) -> Option<Pa> {
        let at = self.next.get().next_multiple_of(bytes);
        self.next.set(at + bytes);
        Some(Pa(at))
    }
}

/// The SMMU as stage 2 knows it.
struct Unit<'m> {
    smmu: RefCell<Smmu<Wires<'m>>>,
    meddling: &'m Cell<Meddling>,
    syncs: Cell<u64>,
}

impl fmt::Debug for Unit<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the SMMU, {:?}", self.meddling.get())
    }
}

impl DeviceTlb for Unit<'_> {
    fn invalidate(&self, vmid: Vmid, scope: Scope) {
        if !matches!(self.meddling.get(), Meddling::Never | Meddling::Early) {
            let done = self.smmu.borrow_mut().invalidate(vmid, scope);
            done.expect("the model consumes commands");
        }
    }

    fn sync(&self) -> Result<(), Stuck> {
        self.syncs.set(self.syncs.get() + 1);
        if matches!(
            self.meddling.get(),
            Meddling::NoWait | Meddling::Never | Meddling::Early
        ) {
            return Ok(());
        }
        self.smmu.borrow_mut().sync().map_err(|_| Stuck)
    }
}

/// Pages that the SMMU's model hears of when they come back.
#[derive(Debug)]
pub struct Pages<'m> {
    pool: Pool<'m>,
    smmu: &'m RefCell<model::Smmu>,
}

impl PageSupply for Pages<'_> {
    fn take(&mut self) -> Option<Pa> {
        self.pool.take()
    }

    fn give(&mut self, page: Pa) {
        self.smmu.borrow_mut().release(page, PAGE);
        self.pool.give(page);
    }
}

/// A CPU whose stores the SMMU sees.
pub type Hands<'m> = Beside<'m, Cpu<'m>>;

/// A machine with a CPU, an SMMU and one virtual machine, whose device is stream 0x108.
#[derive(Debug)]
pub struct Rig<'m> {
    /// The CPU.
    pub hands: Hands<'m>,
    /// The table.
    pub table: Table,
    pages: Pages<'m>,
    smmu: &'m RefCell<model::Smmu>,
    unit: Unit<'m>,
    attachment: Option<Attachment>,
    context: Context<1>,
    vmids: VmidAllocator<1>,
    ids: IdRegisters,
    bbm: Bbm,
    meddling: &'m Cell<Meddling>,
}

/// The device.
const DEVICE: StreamId = StreamId(0x108);

/// The models of a rig, and what is meddled with.
#[derive(Debug)]
pub struct Stage {
    model: RefCell<Model>,
    smmu: RefCell<model::Smmu>,
    meddling: Cell<Meddling>,
    bbm: Bbm,
}

impl Stage {
    /// A machine whose CPU and SMMU have this level of BBM, and whose SMMU knows ranges if its `idr3` says so.
    pub fn new(bbm: Bbm, ranges: droste_smmu::Ranges) -> Self {
        let config = model::Config {
            pa_bits: 40,
            bbm: match bbm {
                Bbm::Level0 => model::Bbm::Level0,
                Bbm::Level1 => model::Bbm::Level1,
                Bbm::Level2 => model::Bbm::Level2,
            },
            ..model::Config::new(Pa(TABLES), PAGES + 16)
        };
        let mut smmu = model::Smmu::new(config, 3);
        let bbml = match bbm {
            Bbm::Level0 => 0,
            Bbm::Level1 => 1,
            Bbm::Level2 => 2,
        };
        let ril = u64::from(ranges == droste_smmu::Ranges::Yes);
        for (register, value) in [
            (
                Register::IDR0,
                1 | 2 << 2 | 1 << 4 | 2 << 21 | 1 << 24 | 1 << 27,
            ),
            (Register::IDR1, 0xc | 7 << 16 | 8 << 21),
            (Register::IDR3, ril << 10 | bbml << 11),
            (Register::IDR5, 2 | 7 << 4),
            (Register::AIDR, 1),
        ] {
            smmu.set_register(register.0, value);
        }
        Self {
            model: RefCell::new(Model::new(config)),
            smmu: RefCell::new(smmu),
            meddling: Cell::new(Meddling::None),
            bbm,
        }
    }

    /// From here on this goes wrong.
    pub fn meddle(&self, meddling: Meddling) {
        self.meddling.set(meddling);
    }

    /// What the SMMU's model found first.
    pub fn violation(&self) -> Option<SmmuViolation> {
        self.smmu.borrow().violation().copied()
    }

    /// The SMMU taken over, and the virtual machine with an empty table; its device is not attached yet.
    ///
    /// # Panics
    /// If the SMMU does not do as it is told.
    pub fn rig(&self) -> Rig<'_> {
        let ids = IdRegisters::new(PaRange::Bits40).with_bbm(self.bbm);
        let bits = IpaBits::new(32).expect("a width");
        let geometry = Geometry::new(Granule::Kib4, bits, &ids).expect("a shape");
        let hands = Beside::new(Cpu::new(&self.model, 0), 0, &self.smmu);
        let mut table = Table::new(&hands, Pa(TABLES), geometry, &ids).expect("aligned");
        let context = Context::new(&mut table);
        let first = Pa(TABLES + geometry.root_bytes().next_multiple_of(PAGE));
        let wires = Wires {
            smmu: &self.smmu,
            next: Cell::new(QUEUES),
            commands: Cell::new(0),
            meddling: &self.meddling,
            second: Cell::new(None),
        };
        let smmu = Smmu::take_over(wires, Manner::Batched).expect("the model answers");
        let rig = Rig {
            hands,
            table,
            pages: Pages {
                pool: Pool::new(&self.model, first, PAGES, PAGE),
                smmu: &self.smmu,
            },
            smmu: &self.smmu,
            unit: Unit {
                smmu: RefCell::new(smmu),
                meddling: &self.meddling,
                syncs: Cell::new(0),
            },
            attachment: None,
            context,
            vmids: VmidAllocator::new(),
            ids,
            bbm: self.bbm,
            meddling: &self.meddling,
        };
        let machine = Cpu::new(&self.model, 0);
        let vtcr = geometry.vtcr(&rig.ids);
        droste_stage2::Machine::set_vtcr(&machine, vtcr);
        rig.context.enter(&machine, &rig.vmids, 0, VcpuId(0));
        rig
    }
}

impl Rig<'_> {
    /// Gives the device to the virtual machine.
    ///
    /// # Panics
    /// If it cannot be.
    pub fn attach(&mut self) {
        let attachment = Attachment::new(&mut self.table, VMID, self.bbm).expect("the first");
        self.attachment = Some(attachment);
        let entry = Ste::stage2(&Stage2 {
            vmid: VMID,
            vtcr: self.table.geometry().vtcr(&self.ids),
            root: self.table.root(),
            leaves: Leaves::Combined,
        });
        self.set_entry(&entry);
    }

    /// Takes it away, and everything that the SMMU held.
    ///
    /// # Panics
    /// If it was not attached.
    pub fn detach(&mut self) {
        self.set_entry(&Ste::ABORT);
        let attachment = self.attachment.take().expect("it is attached");
        let done = attachment.retire(&mut self.table, &self.unit);
        done.expect("the model consumes commands");
    }

    fn set_entry(&mut self, entry: &Ste) {
        let done = self.unit.smmu.borrow_mut().set_stream(DEVICE, entry);
        done.expect("the model consumes commands");
    }

    /// An operation of the table, `between` while what it owes is not discharged, and the discharge.
    ///
    /// # Errors
    /// The operation's.
    ///
    /// # Panics
    /// If the SMMU does not do as it is told.
    pub fn change(
        &mut self,
        operation: impl for<'t> FnOnce(&'t mut Table, &Hands<'_>, &mut Pages<'_>) -> Owed<'t>,
        between: impl FnOnce(),
    ) -> Result<(), Error> {
        if self.meddling.get() == Meddling::Early {
            let mut smmu = self.unit.smmu.borrow_mut();
            let told = smmu.invalidate(VMID, Scope::All).and_then(|()| smmu.sync());
            told.expect("the model consumes commands");
        }
        let owed = operation(&mut self.table, &self.hands, &mut self.pages);
        between();
        let smmus: Vec<_> = (self.attachment.iter())
            .map(|attachment| Attached {
                attachment,
                tlb: &self.unit,
            })
            .collect();
        let contexts = Contexts {
            vmids: &self.vmids,
            all: &[&self.context],
            smmus: &smmus,
        };
        owed.discharge(&self.hands, &mut self.pages, &contexts)
    }

    /// How often an SMMU was waited for.
    pub fn syncs(&self) -> u64 {
        self.unit.syncs.get()
    }

    /// What the table says of an access.
    pub fn allowed(&self, address: u64, kind: AccessKind) -> Reach {
        let needs = match kind {
            AccessKind::Write => Access::Write,
            _ => Access::Read,
        };
        match self.table.walk(&self.hands, Ipa(address)) {
            Walk::Leaf { ipa, leaf, .. } if permits(leaf.attributes.access, needs) => {
                Reach::Memory(leaf.output + (address - ipa.0))
            }
            _ => Reach::Abort,
        }
    }

    /// Level of the leaf that maps an address.
    pub fn level(&self, address: u64) -> Option<Level> {
        match self.table.walk(&self.hands, Ipa(address)) {
            Walk::Leaf { level, .. } => Some(level),
            Walk::Hole { .. } => None,
        }
    }

    /// Checks that the device's access comes to nothing but this.
    pub fn expect(&self, address: u64, kind: AccessKind, allowed: Reach) {
        let mut smmu = self.smmu.borrow_mut();
        smmu.expect(DEVICE.0, address, kind, allowed);
    }

    /// The same, to what the table says now.
    pub fn check(&self, address: u64, kind: AccessKind) {
        self.expect(address, kind, self.allowed(address, kind));
    }
}

impl Stage {
    /// As [`Rig::expect`], while the rig is at work.
    pub fn expect(&self, address: u64, kind: AccessKind, allowed: Reach) {
        let mut smmu = self.smmu.borrow_mut();
        smmu.expect(DEVICE.0, address, kind, allowed);
    }
}

fn permits(access: droste_arm64::desc::S2ap, needs: Access) -> bool {
    match needs {
        Access::Write => access.can_write(),
        _ => access.can_read(),
    }
}
