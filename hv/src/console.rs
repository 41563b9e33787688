//! The one physical UART, shared by Droste's own lines and the VMs' consoles.
//!
//! Output goes through a ring, so that a slow line never holds up EL2: a guest sees its transmit FIFO full instead. The
//! VM in focus writes straight through; lines of the others are collected and printed whole, with their name. Input
//! goes to the VM in focus. `Ctrl-]` is the escape: then `s` prints the report, `n` gives the focus to the next VM, and
//! a second `Ctrl-]` is passed on.

use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::fmt::{self, Write};

use arm_pl011_uart::{Interrupts, Uart};
use droste_arm64::Pa;
use droste_arm64::esr::AccessSize;
use droste_devtree::Device;
use droste_vdev::Line;
use droste_vdev::gic::Intid;
use droste_vdev::pl011::{Action, Pl011, Receipt, Room};
use spin::mutex::TicketMutex;

use crate::arch::uart;
use crate::arch::vcpu::VcpuState;
use crate::machine::machine;
use crate::mmio::UART_INTID;
use crate::report::{self, Moment};
use crate::vgic;
use crate::vm::Vm;

const RING_BYTES: usize = 16 << 10;
/// From here on guests wait.
const RING_HIGH: usize = RING_BYTES / 2;
const LINE_BYTES: usize = 256;
const ESCAPE: u8 = 0x1d;

/// What input does next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Input {
    Plain,
    Escaped,
}

struct Console {
    uart: Uart<'static>,
    ring: VecDeque<u8>,
    /// The last byte that went out ended a line.
    is_line_start: bool,
    /// Index of the VM that has the keyboard.
    focus: usize,
    /// Unfinished lines of the VMs that have not.
    lines: Vec<Vec<u8>>,
    input: Input,
    /// Guests were told to wait.
    is_held: bool,
    /// A byte that the guest had no room for.
    refused: Option<u8>,
}

static CONSOLE: TicketMutex<Option<Console>> = TicketMutex::new(None);

/// Takes the UART, which stage 1 maps already.
pub(crate) fn open(device: &Device) {
    let uart = uart::open(Pa(device.registers[0].start));
    *CONSOLE.lock() = uart.map(|uart| Console {
        uart,
        ring: VecDeque::with_capacity(RING_BYTES),
        is_line_start: true,
        focus: 0,
        lines: Vec::new(),
        input: Input::Plain,
        is_held: false,
        refused: None,
    });
}

/// Lets the UART interrupt for input; VMs exist.
pub(crate) fn enable_interrupts() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.lines = machine()
            .vms()
            .iter()
            .map(|_| Vec::with_capacity(LINE_BYTES))
            .collect();
        console.update_masks();
    }
}

/// Prints one line of Droste's own, on a line of its own.
pub(crate) fn with_line(write: impl FnOnce(&mut dyn Write)) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.start_line();
        write(&mut Urgent(console));
        Urgent(console).end_line();
    }
}

/// Waits until everything is out.
pub(crate) fn flush() {
    if let Some(console) = CONSOLE.lock().as_mut() {
        while !console.ring.is_empty() || console.uart.is_busy() {
            console.drain();
        }
    }
}

/// The physical UART's interrupt: input arrived, or output has gone.
pub(crate) fn interrupt() {
    loop {
        let (byte, is_released) = match CONSOLE.lock().as_mut() {
            Some(console) => (console.next_input(), console.release()),
            None => return,
        };
        if is_released {
            set_room(Room::Free);
        }
        match byte {
            Some(Key::Guest(byte)) => {
                if offer(byte) == Receipt::Refused {
                    return hold(byte);
                }
            }
            Some(Key::Report) => report::print(Moment::OnTheWay),
            Some(Key::NextVm) => switch_focus(),
            Some(Key::None) => {}
            None => return,
        }
    }
}

/// What a byte of input means.
enum Key {
    Guest(u8),
    Report,
    NextVm,
    None,
}

/// A VM's UART, and what its GIC was last told of its interrupt line.
pub(crate) struct GuestUart {
    model: Pl011,
    told: Line,
}

impl GuestUart {
    /// A UART out of reset.
    pub(crate) const fn new() -> Self {
        Self {
            model: Pl011::new(),
            told: Line::Low,
        }
    }

    #[inline]
    fn has_changed_line(&self) -> bool {
        self.model.line() != self.told
    }

    fn take_line(&mut self) -> Line {
        self.told = self.model.line();
        self.told
    }
}

/// A load of the loaded guest from its UART.
#[inline]
pub(crate) fn guest_read(state: &mut VcpuState, offset: u64, size: AccessSize) -> u64 {
    const FLAGS: u64 = 0x18;
    let vm = state.vcpu.vm;
    let value = vm.uart.lock().model.read(offset, size);
    if offset != FLAGS {
        // The flags are what a driver polls, and reading them changes nothing.
        retry_input(vm);
        tell_line(state);
    }
    value
}

/// A store of the loaded guest to its UART.
#[inline]
pub(crate) fn guest_write(state: &mut VcpuState, offset: u64, size: AccessSize, value: u64) {
    let vm = state.vcpu.vm;
    let (action, has_changed) = {
        let mut uart = vm.uart.lock();
        (
            uart.model.write(offset, size, value),
            uart.has_changed_line(),
        )
    };
    match action {
        Action::Transmit(byte) => {
            if transmit(vm, byte) == Room::Full {
                set_room(Room::Full);
            }
        }
        Action::None => retry_input(vm),
    }
    if has_changed {
        tell_line(state);
    }
}

/// Tells the GIC of the loaded guest's VM what its UART's line does.
#[cold]
fn tell_line(state: &mut VcpuState) {
    let kicks = raise_line(state.vcpu.vm);
    vgic::deliver(state, kicks);
}

/// Puts one byte of `vm` out, or into its line. Says whether there is room for more.
#[inline]
fn transmit(vm: &Vm, byte: u8) -> Room {
    let mut console = CONSOLE.lock();
    let Some(console) = console.as_mut() else {
        return Room::Free;
    };
    if console.focus == vm.id {
        console.push(byte);
    } else {
        console.collect(vm, byte);
    }
    let is_full = console.ring.len() >= RING_HIGH;
    console.is_held |= is_full;
    if is_full { Room::Full } else { Room::Free }
}

/// Tells all guests whether there is room.
#[cold]
fn set_room(room: Room) {
    for vm in machine().vms() {
        vm.uart.lock().model.set_transmit_room(room);
        notify(vm);
    }
}

/// Brings the line of a VM's UART to its GIC, from a CPU where the VM need not be loaded.
fn notify(vm: &Vm) {
    if vm.uart.lock().has_changed_line() {
        let kicks = raise_line(vm);
        vgic::kick(vm, kicks);
    }
}

/// Sets the GIC's input to the UART's line, as it is now: both locks are held, so that the last word is the right one.
fn raise_line(vm: &Vm) -> droste_vdev::gic::Kicks {
    let mut uart = vm.uart.lock();
    let intid = Intid::new(UART_INTID).expect("the UART's interrupt is an SPI");
    let line = uart.take_line();
    vm.gic.lock().set_line(0, intid, line)
}

/// Gives the VM in focus a byte.
fn offer(byte: u8) -> Receipt {
    let focus = CONSOLE.lock().as_ref().map_or(0, |console| console.focus);
    let Some(vm) = machine().vms().get(focus) else {
        return Receipt::Accepted;
    };
    let receipt = vm.uart.lock().model.receive(byte);
    notify(vm);
    receipt
}

/// Keeps a byte until its guest has room; the UART's own FIFO keeps the rest.
fn hold(byte: u8) {
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.refused = Some(byte);
        console.update_masks();
    }
}

/// The guest may have made room: offers what it refused.
#[cold]
fn retry_input(vm: &Vm) {
    let byte = match CONSOLE.lock().as_mut() {
        Some(console) if console.focus == vm.id => console.refused.take(),
        _ => return,
    };
    let Some(byte) = byte else { return };
    if offer(byte) == Receipt::Refused {
        return hold(byte);
    }
    if let Some(console) = CONSOLE.lock().as_mut() {
        console.update_masks();
    }
}

fn switch_focus() {
    let vms = machine().vms();
    let next = match CONSOLE.lock().as_mut() {
        Some(console) => {
            console.focus = (console.focus + 1) % vms.len().max(1);
            console.refused = None;
            let line = core::mem::take(&mut console.lines[console.focus]);
            console.start_line();
            for byte in line {
                console.push(byte);
            }
            console.focus
        }
        None => return,
    };
    log::info!("input goes to {}", vms[next].name());
}

impl Console {
    /// Sends a byte; drops it where the ring is full, which guests are told in time to avoid.
    #[inline]
    fn push(&mut self, byte: u8) {
        self.is_line_start = byte == b'\n';
        if self.ring.is_empty() && !self.uart.is_tx_fifo_full() {
            self.uart.write_word(byte);
        } else {
            self.enqueue(byte);
        }
    }

    #[cold]
    fn enqueue(&mut self, byte: u8) {
        if self.ring.len() < RING_BYTES {
            self.ring.push_back(byte);
            if self.ring.len() == 1 {
                self.update_masks();
            }
        }
    }

    /// Moves what fits from the ring into the UART.
    fn drain(&mut self) {
        while !self.uart.is_tx_fifo_full() {
            match self.ring.pop_front() {
                Some(byte) => self.uart.write_word(byte),
                None => break,
            }
        }
        if self.ring.is_empty() {
            self.update_masks();
        }
    }

    fn start_line(&mut self) {
        if !self.is_line_start {
            self.push(b'\r');
            self.push(b'\n');
        }
    }

    /// Adds a byte to the line of a VM that is not in focus, and prints the line once it is whole.
    #[inline(never)]
    fn collect(&mut self, vm: &Vm, byte: u8) {
        let line = &mut self.lines[vm.id];
        if byte != b'\n' && byte != b'\r' {
            line.push(byte);
        }
        if byte == b'\n' || line.len() == LINE_BYTES {
            let line = core::mem::replace(line, Vec::with_capacity(LINE_BYTES));
            self.start_line();
            let _ = write!(Urgent(self), "[{}] ", vm.name());
            for byte in line {
                self.push(byte);
            }
            self.push(b'\r');
            self.push(b'\n');
        }
    }

    /// The next key, if there is room to take one.
    fn next_input(&mut self) -> Option<Key> {
        if self.refused.is_some() {
            return None;
        }
        // A byte that came in wrong (framing, parity, break) is dropped.
        let byte = loop {
            if let Ok(byte) = self.uart.read_word() {
                break byte?;
            }
        };
        let input = core::mem::replace(&mut self.input, Input::Plain);
        Some(match (input, byte) {
            (Input::Plain, ESCAPE) => {
                self.input = Input::Escaped;
                Key::None
            }
            (Input::Escaped, b's') => Key::Report,
            (Input::Escaped, b'n') => Key::NextVm,
            (Input::Plain, byte) | (Input::Escaped, byte @ ESCAPE) => Key::Guest(byte),
            (Input::Escaped, _) => Key::None,
        })
    }

    /// Makes progress with output; says whether guests that waited may go on.
    fn release(&mut self) -> bool {
        self.drain();
        let is_released = self.is_held && self.ring.len() < RING_HIGH / 2;
        self.is_held &= !is_released;
        is_released
    }

    /// Input interrupts unless a guest has no room, output interrupts while the ring holds something.
    fn update_masks(&mut self) {
        let mut masks = Interrupts::empty();
        if self.refused.is_none() {
            masks |= Interrupts::RXI | Interrupts::RTI;
        }
        if !self.ring.is_empty() {
            masks |= Interrupts::TXI;
        }
        self.uart.set_interrupt_masks(masks);
    }
}

/// Droste's own lines: these wait for room rather than be lost. Only the log writes so, at a bounded rate.
struct Urgent<'a>(&'a mut Console);

impl Urgent<'_> {
    fn put(&mut self, byte: u8) {
        while self.0.ring.len() == RING_BYTES {
            self.0.drain();
        }
        self.0.push(byte);
    }

    fn end_line(&mut self) {
        self.put(b'\r');
        self.put(b'\n');
    }
}

impl Write for Urgent<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().for_each(|byte| self.put(byte));
        Ok(())
    }
}
