//! How a VM comes to its lives, what is done between two of them, and the end of the machine.

use core::sync::atomic::{AtomicUsize, Ordering};

use droste_devtree::GuestDom0;
use droste_platform::Trigger;
use droste_vdev::gic::ConfigError;
use spin::mutex::SpinMutex;

use crate::arch::{self, gic};
use crate::console::report::{self, Moment};
use crate::console::{keyboard, terminal};
use crate::machine::end::{self, Went};
use crate::machine::machine;
use crate::memory::loader::{Entry, LoadError, Plan};
use crate::vm::rest::Rest;
use crate::vm::{Vm, all, reset};

/// Lets its home begin its first life.
pub(crate) fn open(vm: &Vm) -> Result<(), LoadError> {
    let tree = |initrd, dom0: Option<GuestDom0<'_>>| vm.device_tree(initrd, dom0);
    let plan = Plan::new(&vm.image, vm.ram_ipa, tree)?;
    vm.rest.call_once(|| SpinMutex::new(Rest::new(plan)));
    vm.lives.open();
    vm.home().kick();
    Ok(())
}

/// A life begins at `entry`.
pub(crate) fn begin(vm: &'static Vm, entry: Entry) {
    connect_devices(vm);
    vm.lives
        .begin(reset::new_state(vm.vcpus()[0], entry.pc, entry.device_tree));
}

/// Makes its interrupts, its console and its firmware new, while it rests.
pub(crate) fn renew_devices(vm: &Vm) -> Result<(), ConfigError> {
    vm.renew()?;
    terminal::tell_room(vm);
    Ok(())
}

/// Silences its devices, so that none writes to memory or interrupts on behalf of a guest that is gone.
pub(crate) fn reset_devices(vm: &Vm) {
    for device in vm.devices.iter().filter(|d| d.is_compatible("virtio,mmio")) {
        for range in &device.registers {
            arch::memory::reset_virtio(range.start);
        }
    }
    let mut distributor = machine().distributor.lock();
    for interrupt in vm.shared_interrupts() {
        distributor.disable(interrupt.intid);
    }
}

/// `vm` has come to its end; with the last one the machine goes off.
pub(crate) fn vm_ended(vm: &Vm) {
    static ENDED: AtomicUsize = AtomicUsize::new(0);
    if ENDED.fetch_add(1, Ordering::AcqRel) + 1 == all::vms().len() {
        report::print(Moment::Final);
        machine_off(report::went());
    }
    log::info!("{}: {}", vm.name(), vm.run_state());
    keyboard::tell_end(vm);
}

/// Ends the machine, once all that was printed is out.
pub(crate) fn machine_off(went: Went) -> ! {
    terminal::flush();
    end::end(went);
    log::error!("the firmware does not switch the machine off: it stays on, and does nothing");
    terminal::flush();
    arch::halt()
}

/// Lets its devices interrupt, at the CPU of its first virtual one.
fn connect_devices(vm: &Vm) {
    let mut distributor = machine().distributor.lock();
    for interrupt in vm.shared_interrupts() {
        let trigger = match interrupt.trigger {
            Trigger::Edge => gic::Trigger::Edge,
            Trigger::Level => gic::Trigger::Level,
        };
        distributor.enable(interrupt.intid, trigger, vm.vcpus()[0].cpu.affinity);
    }
}
