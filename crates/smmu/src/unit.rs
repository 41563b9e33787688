//! One SMMU: taken over, commanded, heard.
//!
//! # Taking over
//! What the firmware left on is stopped before anything of it is touched (IHI 0070, 6.3.9 and 3.11). Transactions are
//! terminated from the moment that translation is off: GBPA.ABORT is in force before. Then the queues and the stream
//! table are ours, both caches are emptied by command, and only then is translation on again, with every stream
//! terminated. Each wait has a bound; an SMMU that does not answer is left terminating, or as it was, and is an error.
//!
//! # Commands
//! [`give`](Smmu::give) puts a command into the queue and publishes nothing; [`sync`](Smmu::sync) puts a CMD_SYNC behind,
//! publishes all with one write of CMDQ_PROD after a DSB, and waits until CMDQ_CONS has passed it. So a batch costs one
//! CMD_SYNC. A CMD_SYNC without a signal is complete when it is consumed (IHI 0070, 4.7.3).
//!
//! # Errors of commands
//! The SMMU stops at a command that it cannot consume and says so in GERROR (IHI 0070, 7.1). An illegal one is replaced by the
//! widest of its kind: what was to be forgotten is forgotten, with more. One that could not be fetched, or a CMD_SYNC
//! that timed out, is tried again. Then GERRORN follows GERROR, and the SMMU goes on. If it cannot, [`Error::Command`].
//!
//! # Stream table entries
//! The SMMU reads an entry in no particular order and may hold it for as long as it likes, valid or not. So a valid one
//! is made invalid first, by its first word, and forgotten; then the other words are written, then the first
//! (IHI 0070, 3.21.3). Between those steps DSBs, behind each CMD_CFGI_STE a CMD_SYNC.

use core::fmt;

use droste_arm64::smmu::Scope;
use droste_arm64::{Pa, Vmid};

use crate::board::{Board, Patience};
use crate::command::{self, Command, Cover};
use crate::errata::Manner;
use crate::event::{self, Event, Told};
use crate::id::{Capabilities, Ids, Missing};
use crate::registers::{BASE_HINT, CR1, OVERFLOW, Register, cr0, cr2, gbpa, gerror};
use crate::ring::Ring;
use crate::ste::{self, Ste};
use crate::streams::{Found, SPLIT, StreamId, StreamTable, link};

/// log2 of the commands and of the events that the queues hold where the SMMU permits: a page of 4 KiB each.
const COMMANDS_LOG2: u32 = 8;
const EVENTS_LOG2: u32 = 7;
/// How often in one wait the SMMU may stop at commands before it is given up.
const MAX_ERRORS: u32 = 64;

/// Why the SMMU stopped at a command: CMDQ_CONS.ERR (IHI 0070, 7.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CommandError {
    /// CERROR_ILL: it does not know the command.
    Illegal,
    /// CERROR_ABT: it could not read it.
    Abort,
    /// CERROR_ATC_INV_SYNC: an invalidation of a device's own cache timed out.
    DeviceCache,
    /// Another number.
    Other(u32),
}

impl CommandError {
    const fn decode(consumer: u32) -> Self {
        match consumer >> 24 & 0x7f {
            1 => Self::Illegal,
            2 => Self::Abort,
            3 => Self::DeviceCache,
            other => Self::Other(other),
        }
    }
}

/// What an SMMU did not do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// It is of no use.
    Missing(Missing),
    /// There is no memory for its queues or its stream table.
    NoMemory,
    /// A register did not follow what was written.
    NoAnswer(Register),
    /// It stopped at a command, and does not go on.
    Command(CommandError),
    /// Commands are not consumed.
    Stuck,
    /// The stream table does not reach so far.
    NoSuchStream(StreamId),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(missing) => missing.fmt(f),
            Self::NoMemory => {
                f.write_str("there is no memory for an SMMU's queues and stream table")
            }
            Self::NoAnswer(register) => write!(
                f,
                "the SMMU's register at {:#x} does not follow what is written: reset the machine",
                register.0
            ),
            Self::Command(error) => write!(
                f,
                "the SMMU stops at a command ({error:?}): stop its devices"
            ),
            Self::Stuck => f.write_str("the SMMU does not consume commands: stop its devices"),
            Self::NoSuchStream(stream) => {
                write!(
                    f,
                    "the stream table has no entry for device {stream}: it stays terminated"
                )
            }
        }
    }
}

impl core::error::Error for Error {}

/// An SMMU that is ours.
#[derive(Debug)]
pub struct Smmu<B> {
    board: B,
    capabilities: Capabilities,
    manner: Manner,
    streams: StreamTable,
    commands: Ring,
    /// The next place for a command, and the last that the SMMU has been told of.
    producer: u32,
    published: u32,
    events: Ring,
    /// Commands that the SMMU found illegal, and that wider ones replaced.
    replaced: u64,
}

impl<B: Board> Smmu<B> {
    /// Takes an SMMU over, whatever it was doing. From here on all its streams are terminated.
    ///
    /// # Errors
    /// [`Error::Missing`]: nothing was written. [`Error::NoMemory`], [`Error::NoAnswer`], [`Error::Command`],
    /// [`Error::Stuck`].
    pub fn take_over(board: B, manner: Manner) -> Result<Self, Error> {
        let capabilities = Ids::read(&board).decode().map_err(Error::Missing)?;
        let errors = board.read(Register::GERROR);
        if (errors ^ board.read(Register::GERRORN)) & gerror::SFM_ERR != 0 {
            return Err(Error::Missing(Missing::Service));
        }
        let commands_log2 = capabilities.commands_log2.min(COMMANDS_LOG2);
        let events_log2 = capabilities.events_log2.min(EVENTS_LOG2);
        let take = |log2, bytes| {
            let base = board.take(Ring::size(log2, bytes)).ok_or(Error::NoMemory)?;
            Ok(Ring::new(base, log2, bytes))
        };
        let commands = take(commands_log2, command::BYTES)?;
        let events = take(events_log2, event::BYTES)?;
        let streams = StreamTable::new(&board, capabilities.stream_bits).ok_or(Error::NoMemory)?;
        let mut smmu = Self {
            board,
            capabilities,
            manner,
            streams,
            commands,
            producer: 0,
            published: 0,
            events,
            replaced: 0,
        };
        smmu.stop()?;
        smmu.place();
        smmu.start()?;
        Ok(smmu)
    }

    /// What it can do.
    pub const fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// How many commands it found illegal.
    pub const fn replaced(&self) -> u64 {
        self.replaced
    }

    /// Stops translation and the queues; transactions are terminated from here on. For an SMMU that is not to be trusted
    /// any more as well: when this returns, no device reaches memory through it.
    ///
    /// # Errors
    /// [`Error::NoAnswer`].
    pub fn stop(&mut self) -> Result<(), Error> {
        let is_idle = |board: &B| board.read(Register::GBPA) & gbpa::UPDATE == 0;
        self.wait(is_idle, Error::NoAnswer(Register::GBPA))?;
        self.board.write(Register::GBPA, gbpa::ABORT | gbpa::UPDATE);
        self.wait(is_idle, Error::NoAnswer(Register::GBPA))?;
        self.switch(0)?;
        self.board.write(Register::IRQ_CTRL, 0);
        let is_quiet = |board: &B| board.read(Register::IRQ_CTRLACK) == 0;
        self.wait(is_quiet, Error::NoAnswer(Register::IRQ_CTRL))
    }

    /// Writes what may be written while all is off.
    fn place(&mut self) {
        let board = &self.board;
        board.write(Register::CR1, CR1);
        board.write(Register::CR2, cr2::PTM | cr2::RECINVSID);
        board.write_wide(Register::STRTAB_BASE, self.streams.base() | BASE_HINT);
        board.write(Register::STRTAB_BASE_CFG, self.streams.config());
        board.write_wide(Register::CMDQ_BASE, self.commands.register() | BASE_HINT);
        board.write(Register::CMDQ_PROD, 0);
        board.write(Register::CMDQ_CONS, 0);
        board.write_wide(Register::EVENTQ_BASE, self.events.register() | BASE_HINT);
        board.write(Register::EVENTQ_PROD, 0);
        board.write(Register::EVENTQ_CONS, 0);
        // Interrupts, if any, are wired until somebody says otherwise.
        board.write_wide(Register::GERROR_IRQ_CFG0, 0);
        board.write_wide(Register::EVENTQ_IRQ_CFG0, 0);
        // What went wrong before is not ours.
        board.write(Register::GERRORN, board.read(Register::GERROR));
        // The stream table's first level is zero for the SMMU as well.
        board.dsb();
    }

    fn start(&mut self) -> Result<(), Error> {
        self.switch(cr0::CMDQEN)?;
        self.give(Command::CfgiAll)?;
        if self.capabilities.has_hyp {
            self.give(Command::TlbiEl2All)?;
        }
        self.give(Command::TlbiNsnhAll)?;
        self.sync()?;
        self.switch(cr0::CMDQEN | cr0::EVENTQEN)?;
        self.switch(cr0::CMDQEN | cr0::EVENTQEN | cr0::SMMUEN)
    }

    fn switch(&self, on: u32) -> Result<(), Error> {
        self.board.write(Register::CR0, on);
        self.wait(
            |board| board.read(Register::CR0ACK) == on,
            Error::NoAnswer(Register::CR0),
        )
    }

    fn wait(&self, is_there: impl Fn(&B) -> bool, error: Error) -> Result<(), Error> {
        let mut turn = 0;
        while !is_there(&self.board) {
            if self.board.pause(turn) == Patience::Over {
                return Err(error);
            }
            turn += 1;
        }
        Ok(())
    }

    /// Puts a command into the queue. It may be consumed at once, or not before the next [`sync`](Self::sync).
    ///
    /// # Errors
    /// [`Error::Command`] and [`Error::Stuck`], where the queue was full and did not become less so.
    pub fn give(&mut self, command: Command) -> Result<(), Error> {
        self.put(command)?;
        if command.invalidates() {
            match self.manner {
                Manner::Batched => {}
                Manner::SyncEach => self.put(Command::Sync)?,
                Manner::Twice => {
                    self.put(Command::Sync)?;
                    self.put(command)?;
                }
            }
        }
        Ok(())
    }

    fn put(&mut self, command: Command) -> Result<(), Error> {
        let is_full = |smmu: &Self, consumer| {
            smmu.commands.between(consumer, smmu.producer) == smmu.commands.places()
        };
        if is_full(self, self.consumer()) {
            self.publish();
            self.wait_for_consumer(|smmu, consumer| !is_full(smmu, consumer))?;
        }
        self.write_command(self.producer, command);
        self.producer = self.commands.next(self.producer);
        Ok(())
    }

    fn write_command(&self, index: u32, command: Command) {
        let at = self.commands.at(index);
        for (word, value) in (0..).zip(command.encode()) {
            self.board.store(at + word * 8, value);
        }
    }

    /// Lets the SMMU see the commands.
    fn publish(&mut self) {
        if self.published != self.producer {
            self.board.dsb();
            self.board.write(Register::CMDQ_PROD, self.producer);
            self.published = self.producer;
        }
    }

    fn consumer(&self) -> u32 {
        self.commands.index(self.board.read(Register::CMDQ_CONS))
    }

    /// Returns when all commands before are complete.
    ///
    /// # Errors
    /// [`Error::Command`] and [`Error::Stuck`]: what was to be forgotten may still be used.
    pub fn sync(&mut self) -> Result<(), Error> {
        self.put(Command::Sync)?;
        self.publish();
        self.wait_for_consumer(|smmu, consumer| consumer == smmu.producer)
    }

    fn wait_for_consumer(&mut self, is_there: impl Fn(&Self, u32) -> bool) -> Result<(), Error> {
        let (mut turn, mut errors) = (0, 0);
        while !is_there(self, self.consumer()) {
            let standing = self.board.read(Register::GERROR) ^ self.board.read(Register::GERRORN);
            if standing & gerror::CMDQ_ERR != 0 {
                errors += 1;
                self.recover(errors)?;
            } else if self.board.pause(turn) == Patience::Over {
                return Err(Error::Stuck);
            }
            turn += 1;
        }
        Ok(())
    }

    /// Lets the SMMU go on after a command at which it stopped.
    fn recover(&mut self, errors: u32) -> Result<(), Error> {
        let register = self.board.read(Register::CMDQ_CONS);
        let error = CommandError::decode(register);
        let index = self.commands.index(register);
        if errors > MAX_ERRORS {
            return Err(Error::Command(error));
        }
        match error {
            CommandError::Illegal => {
                let first = self.board.load(self.commands.at(index));
                let wider = Command::widest_for(first).ok_or(Error::Command(error))?;
                self.write_command(index, wider);
                self.replaced += 1;
            }
            CommandError::Abort | CommandError::DeviceCache => {}
            CommandError::Other(_) => return Err(Error::Command(error)),
        }
        self.board.dsb();
        let acknowledged = self.board.read(Register::GERRORN);
        self.board
            .write(Register::GERRORN, acknowledged ^ gerror::CMDQ_ERR);
        Ok(())
    }

    /// Tells the SMMU what to forget of a table. [`sync`](Self::sync) completes it.
    ///
    /// # Errors
    /// As [`give`](Self::give).
    pub fn invalidate(&mut self, vmid: Vmid, scope: Scope) -> Result<(), Error> {
        for command in Cover::new(vmid, scope, self.capabilities.ranges) {
            self.give(command)?;
        }
        Ok(())
    }

    /// Changes what becomes of a stream's transactions, and waits until that is so. While it changes they are
    /// terminated. What the TLB holds is not touched.
    ///
    /// # Errors
    /// [`Error::NoSuchStream`], [`Error::NoMemory`], [`Error::Command`], [`Error::Stuck`].
    pub fn set_stream(&mut self, stream: StreamId, ste: &Ste) -> Result<(), Error> {
        let at = match self.streams.find(&self.board, stream) {
            Found::Entry(at) => at,
            Found::NoPart(descriptor) => self.add_part(stream, descriptor)?,
            Found::Outside => return Err(Error::NoSuchStream(stream)),
        };
        if Ste::is_valid(self.board.load(at)) {
            self.board.store(at, 0);
            self.forget_stream(stream)?;
        }
        for (word, &value) in (0..).zip(&ste.0).skip(1) {
            self.board.store(at + word * 8, value);
        }
        self.board.dsb();
        self.board.store(at, ste.0[0]);
        self.forget_stream(stream)
    }

    /// Gives the second level a part, in which every stream is terminated. The caller makes the SMMU forget that there
    /// was none.
    fn add_part(&mut self, stream: StreamId, descriptor: Pa) -> Result<Pa, Error> {
        let bytes = ste::BYTES << SPLIT;
        let part = self.board.take(bytes).ok_or(Error::NoMemory)?;
        for at in (0..bytes).step_by(8) {
            self.board.store(part + at, 0);
        }
        self.board.dsb();
        self.board.store(descriptor, link(part));
        let index = u64::from(stream.0 & ((1 << SPLIT) - 1));
        Ok(part + index * ste::BYTES)
    }

    fn forget_stream(&mut self, stream: StreamId) -> Result<(), Error> {
        self.board.dsb();
        self.give(Command::CfgiSte(stream))?;
        self.sync()
    }

    /// The oldest event, or that some were lost; `None` when all is told.
    pub fn next_event(&mut self) -> Option<Told> {
        let producer = self.board.read(Register::EVENTQ_PROD);
        let register = self.board.read(Register::EVENTQ_CONS);
        let consumer = self.events.index(register);
        let flag = register & OVERFLOW;
        if consumer != self.events.index(producer) {
            let at = self.events.at(consumer);
            // The record is complete when the SMMU's index says so; it is read after that.
            self.board.dsb();
            let mut words = [0; event::WORDS];
            for (word, value) in (0..).zip(&mut words) {
                *value = self.board.load(at + word * 8);
            }
            // And read before its place is free.
            self.board.dsb();
            let next = self.events.next(consumer);
            self.board.write(Register::EVENTQ_CONS, next | flag);
            return Some(Told::Event(Event(words)));
        }
        if (producer ^ register) & OVERFLOW != 0 {
            let told = consumer | producer & OVERFLOW;
            self.board.write(Register::EVENTQ_CONS, told);
            return Some(Told::Lost);
        }
        None
    }

    /// Whether the SMMU could not write an event since the last call; events were lost then.
    pub fn take_event_abort(&mut self) -> bool {
        let acknowledged = self.board.read(Register::GERRORN);
        let standing = self.board.read(Register::GERROR) ^ acknowledged;
        let is_there = standing & gerror::EVENTQ_ABT_ERR != 0;
        if is_there {
            self.board
                .write(Register::GERRORN, acknowledged ^ gerror::EVENTQ_ABT_ERR);
        }
        is_there
    }

    /// The machine behind it.
    pub const fn board(&self) -> &B {
        &self.board
    }
}
