//! What a hypervisor reports: lines for people, and records for the tool that started the machine.
//!
//! A record is a line of JSON that begins with a word that the tool chose at random, the *nonce*. Guests never see that
//! word, so they cannot forge one.

use core::fmt::{self, Arguments, Display, Write};

use droste_life::RunState;

use crate::Exits;

/// When a report is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Moment {
    /// Virtual machines are running.
    OnTheWay,
    /// All virtual machines have stopped.
    Final,
}

/// Whether a run succeeded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Went {
    /// Every virtual machine did what it was started for.
    Well,
    /// Something failed.
    Badly,
}

impl Went {
    /// The result on a machine whose virtual machines ended in these states: [`Well`](Self::Well) if each was
    /// powered off.
    pub fn of(mut run_states: impl Iterator<Item = RunState>) -> Self {
        if run_states.all(|state| state == RunState::Off) {
            Self::Well
        } else {
            Self::Badly
        }
    }

    /// The record's word.
    const fn word(self) -> &'static str {
        match self {
            Self::Well => "ok",
            Self::Badly => "failed",
        }
    }
}

/// What is known of the machine and of the hypervisor itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Machine {
    /// When the report is made.
    pub moment: Moment,
    /// The result so far.
    pub went: Went,
    /// Bytes of the hypervisor's image as it is loaded.
    pub image: u64,
    /// The same with its data and stacks.
    pub memory: u64,
    /// How often VMIDs ran out.
    pub rollovers: u64,
}

/// What a virtual machine did and holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Vm<'a> {
    /// Its name.
    pub name: &'a str,
    /// How it ended, if it has.
    pub outcome: RunState,
    /// Its exits.
    pub exits: Exits,
    /// Its stage 2.
    pub stage2: Stage2,
    /// Its guests' stage 2, if it can have guests.
    pub shadows: Option<Shadows>,
    /// How often its vCPUs waited for each other.
    pub waits: Waits,
}

/// A lock that vCPUs of one machine have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lock {
    /// Of the interrupt controller.
    Gic,
    /// Of the console.
    Uart,
    /// Of the firmware.
    Firmware,
    /// Of the canonical table.
    Table,
    /// Of the pages for that.
    Pages,
    /// Of the pools of contexts.
    Contexts,
    /// Of all shadows.
    Shadows,
    /// Of the pages for those.
    ShadowPages,
}

impl Lock {
    /// All, with their names in records.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Gic, "gic"),
        (Self::Uart, "uart"),
        (Self::Firmware, "firmware"),
        (Self::Table, "table"),
        (Self::Pages, "pages"),
        (Self::Contexts, "contexts"),
        (Self::Shadows, "shadows"),
        (Self::ShadowPages, "shadow_pages"),
    ];
}

/// How often a CPU found each lock taken, and waited. Each is a count modulo 2^32.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Waits([u64; Lock::ALL.len()]);

impl Waits {
    /// As `count` says of each lock.
    pub fn of(count: impl Fn(Lock) -> u64) -> Self {
        Self(Lock::ALL.map(|(lock, _)| count(lock)))
    }

    /// Names and counts.
    fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = Lock::ALL.into_iter().map(|(_, name)| name);
        names.zip(self.0)
    }
}

impl Display for Waits {
    /// Those that there were.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waits = self.iter().filter(|(_, count)| *count > 0);
        for (n, (name, count)) in waits.enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {count}")?;
        }
        Ok(())
    }
}

/// The work and the memory of a stage 2.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stage2 {
    /// Faults that it resolved.
    pub faults: u64,
    /// Pages that are tables.
    pub table_pages: u64,
    /// Bytes set aside for tables: the quota.
    pub table_bytes: u64,
    /// Invalidations by address.
    pub by_address: u64,
    /// By range.
    pub by_range: u64,
    /// Of entries that combine both stages.
    pub combined: u64,
    /// By VMID.
    pub by_vmid: u64,
    /// Invalidations because vCPUs share a physical CPU.
    pub private: u64,
}

/// The memory of the stage 2 of a virtual machine's guests.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shadows {
    /// Shadows that a vCPU uses: it runs under it, or did when its EL1 was left last.
    pub in_use: usize,
    /// All shadows.
    pub count: usize,
    /// Pages that are part of a shadow's table, or taken ahead for one.
    pub table_pages: u64,
    /// Bytes set aside for shadows: the quota.
    pub table_bytes: u64,
}

impl Vm<'_> {
    /// Writes it for people, line by line.
    pub fn tell(&self, mut line: impl FnMut(Arguments<'_>)) {
        let (name, s) = (self.name, self.stage2);
        line(format_args!("{name}: {}", self.outcome));
        line(format_args!(
            "{name}: {} exits: {}",
            self.exits.total(),
            self.exits
        ));
        line(format_args!(
            "{name}: stage 2: {} faults, {} table pages; TLB invalidations: {} by address, {} by range, {} combined, {} by \
             VMID, {} between vCPUs",
            s.faults, s.table_pages, s.by_address, s.by_range, s.combined, s.by_vmid, s.private
        ));
        if let Some(shadows) = self.shadows {
            line(format_args!(
                "{name}: shadow stage 2: {} of {} in use, {} table pages of {} KiB",
                shadows.in_use,
                shadows.count,
                shadows.table_pages,
                shadows.table_bytes / 1024
            ));
        }
        if self.waits != Waits::default() {
            line(format_args!("{name}: waits in locks: {}", self.waits));
        }
    }
}

impl Machine {
    /// Writes it for people, as one line; stage-2 tables take `tables` bytes in all.
    pub fn tell(&self, tables: u64, line: impl FnOnce(Arguments<'_>)) {
        line(format_args!(
            "EL2 memory: {} KiB image, {} KiB with data and stacks, {} KiB for stage-2 tables; {} VMID rollovers",
            self.image.div_ceil(1024),
            self.memory.div_ceil(1024),
            tables / 1024,
            self.rollovers
        ));
    }
}

/// Writes the record of a machine with these virtual machines.
///
/// # Errors
/// If `out` fails.
pub fn record<'a>(
    out: &mut dyn Write,
    nonce: &str,
    machine: Machine,
    vms: impl Iterator<Item = Vm<'a>>,
) -> fmt::Result {
    let (is_final, outcome) = (machine.moment == Moment::Final, machine.went.word());
    write!(
        out,
        "{nonce} {{\"final\":{is_final},\"outcome\":\"{outcome}\""
    )?;
    write!(
        out,
        ",\"el2\":{{\"image\":{},\"memory\":{},\"rollovers\":{}}},\"vms\":[",
        machine.image, machine.memory, machine.rollovers
    )?;
    for (n, vm) in vms.enumerate() {
        out.write_str(comma(n))?;
        write_vm(out, &vm)?;
    }
    write!(out, "]}}")
}

fn write_vm(out: &mut dyn Write, vm: &Vm<'_>) -> fmt::Result {
    let (name, outcome) = (Escaped(vm.name), vm.outcome);
    let word = outcome.word();
    write!(
        out,
        "{{\"name\":\"{name}\",\"outcome\":\"{word}\",\"message\":\"{outcome}\",\"exits\":{{"
    )?;
    for (n, (class, count)) in vm.exits.iter().enumerate() {
        write!(out, "{}\"{class}\":{count}", comma(n))?;
    }
    let s = vm.stage2;
    write!(
        out,
        "}},\"stage2\":{{\"faults\":{},\"table_pages\":{},\"table_bytes\":{}",
        s.faults, s.table_pages, s.table_bytes
    )?;
    write!(
        out,
        ",\"tlbi\":{{\"address\":{},\"range\":{},\"combined\":{},\"vmid\":{},\"private\":{}}}}}",
        s.by_address, s.by_range, s.combined, s.by_vmid, s.private
    )?;
    if let Some(shadows) = vm.shadows {
        write!(
            out,
            ",\"shadows\":{{\"in_use\":{},\"count\":{},\"table_pages\":{},\"table_bytes\":{}}}",
            shadows.in_use, shadows.count, shadows.table_pages, shadows.table_bytes
        )?;
    }
    out.write_str(",\"waits\":{")?;
    for (n, (name, count)) in vm.waits.iter().enumerate() {
        write!(out, "{}\"{name}\":{count}", comma(n))?;
    }
    write!(out, "}}}}")
}

/// What stands in front of element `n` of a list.
const fn comma(n: usize) -> &'static str {
    if n == 0 { "" } else { "," }
}

/// Writes the last record of a machine about which nothing else is known: its nonce, its outcome and the reason.
///
/// # Errors
/// If `out` fails.
pub fn last_record(
    out: &mut dyn Write,
    nonce: &str,
    outcome: &str,
    why: Arguments<'_>,
) -> fmt::Result {
    let why = Escaped(why);
    write!(
        out,
        "{nonce} {{\"final\":true,\"outcome\":\"{outcome}\",\"message\":\"{why}\"}}"
    )
}

/// Text as the inside of a JSON string.
struct Escaped<T>(T);

impl<T: Display> Display for Escaped<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        struct Escape<'a, 'b>(&'a mut fmt::Formatter<'b>);
        impl Write for Escape<'_, '_> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                text.chars().try_for_each(|c| match c {
                    '"' | '\\' => write!(self.0, "\\{c}"),
                    c if c.is_control() => self.0.write_char(' '),
                    c => self.0.write_char(c),
                })
            }
        }
        write!(Escape(f), "{}", self.0)
    }
}

#[cfg(test)]
mod tests;
