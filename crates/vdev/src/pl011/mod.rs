//! A PL011 UART (DDI 0183), revision r1p5 with 32-deep FIFOs.
//!
//! It does not model time. A byte written leaves at once if the host has room for it, so the transmit FIFO is empty or,
//! while the host has no room, full. A received byte counts as followed by silence: while the FIFOs are on, it raises
//! the receive timeout interrupt at once, below the trigger level too. After a reset the UART is enabled, as firmware
//! leaves it for the first console of a kernel, and it transmits even where UARTCR disables that.
//!
//! Left out: DMA, IrDA, and framing, parity and break errors, which bytes from the host never have.

mod fifo;
#[cfg(test)]
mod tests;

use crate::Line;
use droste_arm64::esr::AccessSize;
use fifo::Fifo;

// DDI 0183, 3.2: the registers' offsets.
const DR: u64 = 0x000;
const RSR_ECR: u64 = 0x004;
const FR: u64 = 0x018;
const ILPR: u64 = 0x020;
const IBRD: u64 = 0x024;
const FBRD: u64 = 0x028;
const LCR_H: u64 = 0x02c;
const CR: u64 = 0x030;
const IFLS: u64 = 0x034;
const IMSC: u64 = 0x038;
const RIS: u64 = 0x03c;
const MIS: u64 = 0x040;
const ICR: u64 = 0x044;
const DMACR: u64 = 0x048;
const PERIPH_ID: u64 = 0xfe0;
const PERIPH_ID_END: u64 = 0x1000;

/// UARTPeriphID0 to 3, then UARTPCellID0 to 3: part 0x011, designer 0x41, revision 3 (DDI 0183, 3.3.15 and 3.3.16).
const IDENTIFICATION: [u8; 8] = [0x11, 0x10, 0x34, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// Overrun, in UARTRSR.
const RSR_OE: u16 = 1 << 3;
/// Overrun, in UARTDR.
const DR_OE: u16 = 1 << 11;

// UARTFR (DDI 0183, 3.3.3).
const FR_CTS: u16 = 1 << 0;
const FR_DSR: u16 = 1 << 1;
const FR_DCD: u16 = 1 << 2;
const FR_BUSY: u16 = 1 << 3;
const FR_RXFE: u16 = 1 << 4;
const FR_TXFF: u16 = 1 << 5;
const FR_RXFF: u16 = 1 << 6;
const FR_TXFE: u16 = 1 << 7;
const FR_RI: u16 = 1 << 8;

/// UARTLCR_H.FEN: the FIFOs are on (DDI 0183, 3.3.7).
const LCR_H_FEN: u16 = 1 << 4;

// UARTCR (DDI 0183, 3.3.8).
const CR_UARTEN: u16 = 1 << 0;
const CR_LBE: u16 = 1 << 7;
const CR_TXE: u16 = 1 << 8;
const CR_RXE: u16 = 1 << 9;
const CR_DTR: u16 = 1 << 10;
const CR_RTS: u16 = 1 << 11;
const CR_OUT1: u16 = 1 << 12;
const CR_OUT2: u16 = 1 << 13;
/// Bits 6 to 3 are reserved.
const CR_WRITABLE: u16 = 0xff87;

// Interrupts, alike in UARTIMSC, UARTRIS, UARTMIS and UARTICR (DDI 0183, 3.3.10).
const INT_RI: u16 = 1 << 0;
const INT_CTS: u16 = 1 << 1;
const INT_DCD: u16 = 1 << 2;
const INT_DSR: u16 = 1 << 3;
const INT_RX: u16 = 1 << 4;
const INT_TX: u16 = 1 << 5;
const INT_RT: u16 = 1 << 6;
const INT_OE: u16 = 1 << 10;
const INT_ALL: u16 = 0x7ff;

/// Whether the host's output takes another byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Room {
    /// It does.
    Free,
    /// It does not: the guest sees its transmit FIFO full.
    Full,
}

/// What became of a received byte.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Receipt {
    /// It is in the receive FIFO.
    Accepted,
    /// The receive FIFO is full, or the receiver is off or in loopback: offer the byte again after the guest's next
    /// access.
    Refused,
}

/// What a store asks of the host.
#[must_use]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// Nothing.
    None,
    /// Output this byte.
    Transmit(u8),
}

/// One UART.
///
/// Any call but a read of UARTFR may change [`line`](Self::line).
///
/// ```
/// use droste_arm64::esr::AccessSize::Word;
/// use droste_vdev::pl011::{Action, Pl011, Receipt};
/// let mut uart = Pl011::new();
/// assert_eq!(uart.write(0x000, Word, b'A'.into()), Action::Transmit(b'A'));
/// assert_eq!(uart.receive(b'z'), Receipt::Accepted);
/// assert_eq!(uart.read(0x000, Word), b'z'.into());
/// ```
#[derive(Debug)]
pub struct Pl011 {
    receive: Fifo,
    transmit_room: Room,
    receive_status: u16,
    control: u16,
    line_control: u16,
    mask: u16,
    raw: u16,
    fifo_levels: u16,
    baud_integer: u16,
    baud_fraction: u16,
    low_power_divisor: u16,
    dma_control: u16,
}

impl Default for Pl011 {
    fn default() -> Self {
        Self::new()
    }
}

impl Pl011 {
    /// A UART as firmware leaves it: enabled, FIFOs off, all interrupts masked.
    pub const fn new() -> Self {
        Self {
            receive: Fifo::new(),
            transmit_room: Room::Free,
            receive_status: 0,
            control: CR_UARTEN | CR_TXE | CR_RXE,
            line_control: 0,
            mask: 0,
            raw: 0,
            fifo_levels: 0x12,
            baud_integer: 0,
            baud_fraction: 0,
            low_power_divisor: 0,
            dma_control: 0,
        }
    }

    /// A load of `size` at `offset`; 0 where no register starts. Reading the data register takes a byte from the
    /// receive FIFO.
    #[inline]
    pub fn read(&mut self, offset: u64, size: AccessSize) -> u64 {
        let value = match offset {
            FR => self.flags(),
            DR => self.take(),
            RSR_ECR => self.receive_status,
            ILPR => self.low_power_divisor,
            IBRD => self.baud_integer,
            FBRD => self.baud_fraction,
            LCR_H => self.line_control,
            CR => self.control,
            IFLS => self.fifo_levels,
            IMSC => self.mask,
            RIS => self.raw,
            MIS => self.raw & self.mask,
            DMACR => self.dma_control,
            PERIPH_ID..PERIPH_ID_END if offset.is_multiple_of(4) => {
                IDENTIFICATION[(offset >> 2 & 7) as usize].into()
            }
            _ => 0,
        };
        u64::from(value) & size.mask()
    }

    /// A store of `size` at `offset`; no effect where no writable register starts. A narrow store writes zeros to the
    /// register's upper bits.
    #[inline]
    pub fn write(&mut self, offset: u64, size: AccessSize, value: u64) -> Action {
        let value = (value & size.mask()) as u16;
        match offset {
            DR => return self.put(value as u8),
            RSR_ECR => self.receive_status = 0,
            ILPR => self.low_power_divisor = value & 0xff,
            IBRD => self.baud_integer = value,
            FBRD => self.baud_fraction = value & 0x3f,
            LCR_H => self.line_control = value & 0xff,
            CR => self.set_control(value & CR_WRITABLE),
            IFLS => self.fifo_levels = value & 0x3f,
            IMSC => self.mask = value & INT_ALL,
            ICR => self.raw &= !value,
            DMACR => self.dma_control = value & 7,
            _ => {}
        }
        Action::None
    }

    /// Offers a byte from the host.
    pub fn receive(&mut self, byte: u8) -> Receipt {
        let is_on = self.control & (CR_UARTEN | CR_RXE | CR_LBE) == CR_UARTEN | CR_RXE;
        if !is_on || self.is_receive_full() {
            return Receipt::Refused;
        }
        self.accept(byte);
        Receipt::Accepted
    }

    /// How many bytes [`receive`](Self::receive) would accept before the guest reads one, as far as room in the FIFO
    /// decides.
    pub fn receive_room(&self) -> usize {
        self.depth().saturating_sub(self.receive.len())
    }

    /// Tells the UART whether the host's output takes another byte. At first it does.
    pub fn set_transmit_room(&mut self, room: Room) {
        if room == self.transmit_room {
            return;
        }
        self.transmit_room = room;
        match room {
            Room::Free => self.raw |= INT_TX,
            Room::Full => self.raw &= !INT_TX,
        }
    }

    /// The interrupt line: UARTINTR.
    #[inline]
    pub fn line(&self) -> Line {
        Line::from_asserted(self.raw & self.mask != 0)
    }

    #[inline]
    fn flags(&self) -> u16 {
        let mut flags = self.modem();
        flags |= match self.transmit_room {
            Room::Free => FR_TXFE,
            Room::Full => FR_TXFF | FR_BUSY,
        };
        if self.receive.is_empty() {
            flags |= FR_RXFE;
        }
        if self.is_receive_full() {
            flags |= FR_RXFF;
        }
        flags
    }

    /// The modem inputs. A peer is always there; in loopback they are the UART's own outputs (DDI 0183, 3.3.8, LBE).
    #[inline]
    fn modem(&self) -> u16 {
        if self.control & CR_LBE == 0 {
            return FR_CTS | FR_DSR | FR_DCD;
        }
        [
            (CR_RTS, FR_CTS),
            (CR_DTR, FR_DSR),
            (CR_OUT1, FR_DCD),
            (CR_OUT2, FR_RI),
        ]
        .iter()
        .filter(|(output, _)| self.control & output != 0)
        .fold(0, |inputs, (_, input)| inputs | input)
    }

    fn set_control(&mut self, control: u16) {
        let before = self.modem();
        self.control = control;
        let changed = before ^ self.modem();
        for (input, interrupt) in [
            (FR_RI, INT_RI),
            (FR_CTS, INT_CTS),
            (FR_DCD, INT_DCD),
            (FR_DSR, INT_DSR),
        ] {
            if changed & input != 0 {
                self.raw |= interrupt;
            }
        }
    }

    /// How many bytes the receive FIFO holds at most.
    #[inline]
    fn depth(&self) -> usize {
        if self.line_control & LCR_H_FEN != 0 {
            fifo::DEPTH
        } else {
            1
        }
    }

    #[inline]
    fn is_receive_full(&self) -> bool {
        self.receive.len() >= self.depth()
    }

    /// Bytes in the receive FIFO that raise UARTRXINTR: UARTIFLS.RXIFLSEL in eighths (DDI 0183, 3.3.9). Reserved
    /// values count as the highest.
    fn trigger(&self) -> usize {
        let eighths = match self.fifo_levels >> 3 & 7 {
            0 => 1,
            1 => 2,
            2 => 4,
            3 => 6,
            _ => 7,
        };
        (self.depth() * eighths / 8).max(1)
    }

    /// Room is there: the byte goes into the receive FIFO.
    fn accept(&mut self, byte: u8) {
        self.receive.push(byte);
        if self.receive.len() >= self.trigger() {
            self.raw |= INT_RX;
        }
        if self.line_control & LCR_H_FEN != 0 {
            self.raw |= INT_RT;
        }
    }

    /// A read of UARTDR.
    fn take(&mut self) -> u16 {
        let byte = self.receive.pop().unwrap_or(0);
        if self.receive.len() < self.trigger() {
            self.raw &= !INT_RX;
        }
        if self.receive.is_empty() {
            self.raw &= !INT_RT;
        }
        let overrun = if self.receive_status & RSR_OE != 0 {
            DR_OE
        } else {
            0
        };
        u16::from(byte) | overrun
    }

    /// A write of UARTDR.
    #[inline]
    fn put(&mut self, byte: u8) -> Action {
        if self.control & CR_LBE != 0 {
            self.loop_back(byte);
            return Action::None;
        }
        if self.transmit_room == Room::Full {
            return Action::None;
        }
        // It leaves at once: the FIFO fell to its trigger level again.
        self.raw |= INT_TX;
        Action::Transmit(byte)
    }

    /// The byte comes back as received; one for which there is no room is an overrun (DDI 0183, 3.3.2 and 3.3.8).
    fn loop_back(&mut self, byte: u8) {
        self.raw |= INT_TX;
        if self.is_receive_full() {
            self.receive_status |= RSR_OE;
            self.raw |= INT_OE;
        } else {
            self.accept(byte);
        }
    }
}
