//! What Droste says of itself: lines for people, and records for the tool that started the machine.
//!
//! A record is a line of JSON behind the word that the tool chose at random (`droste.report=`). Guests never see that
//! word, so they cannot forge one.

use core::fmt::{self, Display};

use super::terminal;
use crate::arch::image;
use crate::machine::cpu::Cpu;
use crate::machine::end::Went;
use crate::machine::machine;
use crate::machine::record::End;
use crate::memory::guest_memory::rollovers;
use crate::vm::stats::EXIT_NAMES;
use crate::vm::{Outcome, Vm, alarm, all};

/// Whether the machine's work is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// VMs are running.
    OnTheWay,
    /// All have stopped.
    Final,
}

/// Prints a report if one is due on `cpu`.
pub(crate) fn print_if_due(cpu: &Cpu) {
    if alarm::is_report_due(cpu) {
        print(Moment::OnTheWay);
        alarm::start_reports();
    }
}

/// Prints the report of all VMs.
pub(crate) fn print(moment: Moment) {
    for vm in all::vms() {
        print_vm(vm);
    }
    let layout = image::layout();
    let all = layout.all();
    let tables: u64 = all::vms().iter().map(|vm| vm.stage2().table_bytes).sum();
    log::info!(
        "EL2 memory: {} KiB image, {} KiB with data and stacks, {} KiB for stage-2 tables; {} VMID rollovers",
        layout.file_bytes.div_ceil(1024),
        (all.end - all.start).div_ceil(1024),
        tables / 1024,
        rollovers()
    );
    if let Some(nonce) = &machine().nonce {
        terminal::with_line(|line| {
            let _ = write!(line, "{nonce} {}", Record { moment });
        });
    }
}

fn print_vm(vm: &Vm) {
    log::info!("{}: {}", vm.name(), vm.outcome());
    log::info!("{}: {} exits: {}", vm.name(), total_exits(vm), Exits(vm));
    let s = vm.stage2();
    log::info!(
        "{}: stage 2: {} faults, {} table pages; TLB invalidations: {} by address, {} by range, {} combined, {} by VMID, {} \
         between virtual CPUs",
        vm.name(),
        s.table.faults,
        s.table.table_pages,
        s.table.tlbi_address,
        s.table.tlbi_range,
        s.table.tlbi_combined,
        s.table.tlbi_vmid,
        s.private_invalidations
    );
    if let Some(shadows) = vm.shadows() {
        log::info!(
            "{}: shadow stage 2: {} of {} in use, {} table pages of {} KiB",
            vm.name(),
            shadows.in_use,
            shadows.count,
            shadows.table_pages,
            shadows.table_bytes / 1024
        );
    }
}

fn exits(vm: &Vm, class: usize) -> u64 {
    vm.vcpus().iter().map(|vcpu| vcpu.counters.get(class)).sum()
}

fn total_exits(vm: &Vm) -> u64 {
    (0..EXIT_NAMES.len()).map(|class| exits(vm, class)).sum()
}

/// `name count, name count`.
struct Exits<'a>(&'a Vm);

impl Display for Exits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (class, name) in EXIT_NAMES.iter().enumerate() {
            let comma = if class == 0 { "" } else { ", " };
            write!(f, "{comma}{name} {}", exits(self.0, class))?;
        }
        Ok(())
    }
}

/// How the VMs ended, once all have.
pub(crate) fn went() -> Went {
    if all::vms().iter().all(|vm| vm.outcome() == Outcome::Off) {
        Went::Well
    } else {
        Went::Badly
    }
}

/// The record as JSON. Names and messages hold no character that JSON escapes: VM names are `[a-z0-9-]`.
struct Record {
    moment: Moment,
}

impl Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let layout = image::layout();
        let all = layout.all();
        write!(f, "{{\"final\":{}", self.moment == Moment::Final)?;
        write!(
            f,
            ",\"outcome\":\"{}\"",
            match went() {
                Went::Well => "ok",
                Went::Badly => "failed",
            }
        )?;
        write!(
            f,
            ",\"el2\":{{\"image\":{},\"memory\":{},\"rollovers\":{}}}",
            layout.file_bytes,
            all.end - all.start,
            rollovers()
        )?;
        write!(f, ",\"vms\":[")?;
        for (i, vm) in all::vms().iter().enumerate() {
            write!(f, "{}", if i == 0 { "" } else { "," })?;
            write_vm(f, vm)?;
        }
        write!(f, "]}}")
    }
}

fn write_vm(f: &mut fmt::Formatter<'_>, vm: &Vm) -> fmt::Result {
    let outcome = vm.outcome();
    write!(
        f,
        "{{\"name\":\"{}\",\"outcome\":\"{}\",\"message\":\"{outcome}\"",
        vm.name(),
        outcome.word()
    )?;
    write!(f, ",\"exits\":{{")?;
    for (class, name) in EXIT_NAMES.iter().enumerate() {
        write!(
            f,
            "{}\"{name}\":{}",
            if class == 0 { "" } else { "," },
            exits(vm, class)
        )?;
    }
    let s = vm.stage2();
    let t = s.table;
    write!(
        f,
        "}},\"stage2\":{{\"faults\":{},\"table_pages\":{},\"table_bytes\":{}",
        t.faults, t.table_pages, s.table_bytes
    )?;
    write!(
        f,
        ",\"tlbi\":{{\"address\":{},\"range\":{},\"combined\":{},\"vmid\":{},\"private\":{}}}}}",
        t.tlbi_address, t.tlbi_range, t.tlbi_combined, t.tlbi_vmid, s.private_invalidations
    )?;
    if let Some(shadows) = vm.shadows() {
        write!(
            f,
            ",\"shadows\":{{\"in_use\":{},\"count\":{},\"table_pages\":{},\"table_bytes\":{}}}",
            shadows.in_use, shadows.count, shadows.table_pages, shadows.table_bytes
        )?;
    }
    write!(f, "}}")
}

/// The tool that marks records by `nonce` hears that nothing could be run.
pub(crate) fn failed(nonce: Option<&str>, why: fmt::Arguments<'_>) {
    if let Some(nonce) = nonce.filter(|nonce| !nonce.is_empty()) {
        terminal::with_line(|line| {
            let _ = write!(line, "{}", End(nonce, "failed", why));
        });
    }
}
