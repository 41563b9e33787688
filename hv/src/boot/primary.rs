//! What a CPU does from the first line of Rust under stage 1 to its first guest.

use droste_arm64::Pa;
use droste_arm64::vhe::Layout;
use droste_devtree::Tree;
use droste_platform::Platform;

use super::refusal::{give_up, refuse};
use super::{cpus, vms};
use crate::arch::gic::Distributor;
use crate::arch::image;
use crate::arch::layout::layout;
use crate::arch::mmu::{self, Access, OutOfTables};
use crate::arch::{self, gic, timer};
use crate::console::{logger, terminal};
use crate::exit::handlers;
use crate::life::{lifecycle, sched};
use crate::machine::error::BuildError;
use crate::machine::{self, bug, cpu, end, machine};
use crate::memory::ram;
use crate::vm::{RunState, alarm, all};

arch::boot::entries!(primary, secondary);

/// The boot CPU, under a stage 1 of the image and the device tree alone.
fn primary(device_tree: Pa) -> ! {
    let tree = Tree::read(arch::memory::device_tree(device_tree))
        .unwrap_or_else(|error| refuse(&error, None));
    open_console(&tree);
    end::on_failure(tree.option("droste.on-failure"));
    let nonce = tree.option("droste.report");
    let platform = tree
        .platform()
        .unwrap_or_else(|error| refuse(&error, nonce));
    if let Err(error) = map_platform(&platform) {
        give_up(format_args!("{error}"));
    }
    cpu::init(&platform.cpus);
    log::info!(
        "Droste {} on {} CPU{}{}",
        env!("CARGO_PKG_VERSION"),
        cpu::all().len(),
        if cpu::all().len() == 1 { "" } else { "s" },
        match layout() {
            Layout::E2h0 => "",
            Layout::E2h1 => ", EL2 with VHE",
        }
    );
    judge_cpu(&platform);
    let distributor =
        Distributor::open(Pa(platform.gic.distributor.start)).expect("a platform's GIC is above 0");
    machine::init(&platform, distributor, platform.uart_interrupt.intid);
    cpus::find_redistributors();
    let cpu = &cpu::all()[0];
    cpus::init_cpu(cpu);
    cpus::start_secondaries();
    if let Err(BuildError(why)) = vms::build(&platform, device_tree) {
        give_up(format_args!("{why}"));
    }
    if !platform.boot.seed.is_empty() {
        ram::wipe_seeds(device_tree);
    }
    let uart = machine().uart_intid;
    machine()
        .distributor
        .lock()
        .enable(uart, gic::Trigger::Level, cpu.affinity);
    terminal::enable_interrupts();
    alarm::start_reports();
    alarm::arm(cpu);
    for vm in all::vms() {
        if let Err(error) = lifecycle::open(vm) {
            log::error!("{}: {error}", vm.name());
            vm.lives.end(Some(RunState::Failed));
            lifecycle::vm_ended(vm);
        }
    }
    bug::provoke(platform.option("droste.bug"));
    handlers::enter(sched::schedule(cpu, None))
}

/// Opens the console that the tree names, before anything can fail: whatever is wrong is said there.
fn open_console(tree: &Tree<'_>) {
    if let Some(uart) = tree.console()
        && mmu::add(uart.registers.clone(), Access::Device).is_ok()
    {
        terminal::open(&uart);
        logger::init();
    }
}

/// Whether Droste can run on this CPU; says which of the machine's it leaves alone.
fn judge_cpu(platform: &Platform) {
    let (all, used) = (platform.cpus.len(), cpu::all().len());
    if all > used {
        log::warn!("the machine has {all} CPUs: Droste drives {used}, the others stay off");
    }
    if !gic::has_cpu_interface() {
        give_up(format_args!(
            "this CPU has no interface to a GICv3, which the device tree says that the machine has"
        ));
    }
    if timer::frequency() == 0 {
        give_up(format_args!(
            "the firmware has not set the frequency of the counter (CNTFRQ_EL0 is 0)"
        ));
    }
}

/// A secondary CPU, under the shared stage 1.
fn secondary(index: usize) -> ! {
    let cpu = &cpu::all()[index];
    cpus::init_cpu(cpu);
    handlers::enter(sched::schedule(cpu, None))
}

/// Maps what the platform has: RAM but for the image, whose pages have their own permissions, its interrupt controller and
/// its clock.
/// The console is mapped by now.
fn map_platform(platform: &Platform) -> Result<(), OutOfTables> {
    let image = image::layout().all();
    for ram in &platform.boot.memory {
        for piece in [
            ram.start..ram.end.min(image.start),
            ram.start.max(image.end)..ram.end,
        ] {
            if piece.start < piece.end {
                mmu::add(piece, Access::Write)?;
            }
        }
    }
    let gic = core::iter::once(&platform.gic.distributor).chain(&platform.gic.redistributors);
    for device in gic.chain(platform.rtc().map(|rtc| &rtc.registers[0])) {
        mmu::add(device.clone(), Access::Device)?;
    }
    Ok(())
}
