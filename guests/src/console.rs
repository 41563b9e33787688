//! The PL011 as an output (DDI 0183, 3.3). Only the first vCPU prints.

use crate::mmio::UART;
use core::fmt::{self, Write};

/// Offset of the data register.
pub const DATA: usize = 0x00;
/// Offset of the flag register.
pub const FLAGS: usize = 0x18;
const FLAGS_TRANSMIT_FULL: u32 = 1 << 5;
const LINE_CONTROL: usize = 0x2c;
const CONTROL: usize = 0x30;
const INTERRUPT_MASK: usize = 0x38;
const INTERRUPT_CLEAR: usize = 0x44;

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                put(b'\r');
            }
            put(byte);
        }
        Ok(())
    }
}

/// Sends one byte, waiting for room.
pub fn put(byte: u8) {
    while UART.read(FLAGS) & FLAGS_TRANSMIT_FULL != 0 {}
    UART.write(DATA, byte.into());
}

/// Brings the UART back to 8 bits, FIFOs on, no interrupts, transmit and receive.
pub fn reset() {
    UART.write(INTERRUPT_MASK, 0);
    UART.write(INTERRUPT_CLEAR, 0x7ff);
    UART.write(LINE_CONTROL, 0x70);
    UART.write(CONTROL, 0x301);
}

#[doc(hidden)]
pub fn print(arguments: fmt::Arguments<'_>) {
    Console
        .write_fmt(arguments)
        .expect("the UART takes every byte");
}

/// Prints a line on the UART.
#[macro_export]
macro_rules! println {
    ($($argument:tt)*) => {
        $crate::console::print(format_args!("{}\n", format_args!($($argument)*)))
    };
}
