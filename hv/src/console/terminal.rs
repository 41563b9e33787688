//! The one physical UART, shared by Droste's own lines and the VMs' consoles. What each of them can do there is decided in
//! `droste-resources`; here are the lock and the hardware.
//!
//! Locks: this one may be held while a VM's UART or GIC is locked, never the other way round.

use core::fmt::{self, Write};

use arm_pl011_uart::{Interrupts, Uart};
use droste_arm64::Pa;
use droste_platform::Uart as Registers;
use droste_resources::{Console, Event, Interest, Uarts};
use droste_vdev::pl011::{Receipt, Room};
use spin::mutex::TicketMutex;

use crate::arch::uart;
use crate::vm::{RunState, Vm, all, line};

static CONSOLE: TicketMutex<Option<Console<Pl011>>> = TicketMutex::new(None);

/// Takes the UART, which stage 1 maps already.
pub(crate) fn open(at: &Registers) {
    let uart = uart::open(Pa(at.registers.start));
    *CONSOLE.lock() = uart.map(|uart| Console::new(Pl011(uart)));
}

/// Lets the UART interrupt for input; VMs exist.
pub(crate) fn enable_interrupts() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.set_vms(all::vms().iter().map(|vm| vm.name()));
    }
}

/// Prints one line of Droste's own, on a line of its own.
pub(crate) fn with_line(write: impl FnOnce(&mut dyn Write)) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.own_line(write);
    }
}

/// Prints such a line if it need not wait for the UART. Whether it did.
pub(super) fn line_if_room(line: fmt::Arguments<'_>) -> bool {
    let mut console = CONSOLE.lock();
    let console = console.as_mut();
    console.is_some_and(|console| console.own_line_if_room(line))
}

/// Waits until everything is out.
pub(crate) fn flush() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.flush();
    }
}

/// Makes progress with output, and takes the next key, if one came in.
pub(super) fn serve() -> Option<Event> {
    let vms = all::vms();
    let is_running = |vm: usize| {
        vms.get(vm)
            .is_some_and(|vm| vm.run_state() == RunState::Running)
    };
    CONSOLE.lock().as_mut()?.serve(is_running)
}

/// Index of the VM that has the keyboard.
pub(super) fn focus() -> Option<usize> {
    CONSOLE.lock().as_ref().map(Console::focus)
}

/// Gives it to this one.
pub(super) fn give(vm: usize) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.give(vm);
    }
}

/// Puts one byte of `vm` out, or into its line; once that is too much, tells all guests to wait.
#[inline]
pub(crate) fn transmit(vm: &Vm, byte: u8) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.transmit(vm.id, byte);
    }
}

/// Tells a UART that is new whether there is room.
pub(crate) fn tell_room(vm: &Vm) {
    if let Some(console) = CONSOLE.lock().as_mut()
        && console.is_held()
    {
        line::set_room(vm, Room::Full);
    }
}

/// The guest may have made room: offers what waits for it.
#[cold]
pub(crate) fn offer_waiting(vm: &Vm) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.offer_waiting(vm.id);
    }
}

/// The machine's UART, and those of all VMs.
struct Pl011(Uart<'static>);

impl Uarts for Pl011 {
    #[inline]
    fn is_full(&self) -> bool {
        self.0.is_tx_fifo_full()
    }

    fn is_busy(&self) -> bool {
        self.0.is_busy()
    }

    #[inline]
    fn send(&mut self, byte: u8) {
        self.0.write_word(byte);
    }

    fn receive(&mut self) -> Option<u8> {
        // A byte that came in wrong (framing, parity, break) is dropped.
        loop {
            if let Ok(byte) = self.0.read_word() {
                return byte;
            }
        }
    }

    fn interrupt_for(&mut self, interest: Interest) {
        let input = Interrupts::RXI | Interrupts::RTI;
        self.0.set_interrupt_masks(match interest {
            Interest::Input => input,
            Interest::InputAndRoom => input | Interrupts::TXI,
        });
    }

    fn offer(&mut self, vm: usize, byte: u8) -> bool {
        line::receive(all::vms()[vm], byte) == Receipt::Accepted
    }

    #[cold]
    fn hold(&mut self) {
        tell_all(Room::Full);
    }

    fn let_go(&mut self) {
        tell_all(Room::Free);
    }
}

/// Tells all guests whether there is room.
fn tell_all(room: Room) {
    for vm in all::vms() {
        line::set_room(vm, room);
    }
}
