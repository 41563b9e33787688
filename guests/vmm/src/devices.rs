//! The guest's devices outside the kernel: a 16550 serial port, and a PL011 that only sends.
//!
//! Linux gets the 16550: with its FIFO an output of 16 bytes takes 17 accesses, where a PL011's takes 32, and each is an
//! exit through all levels. The PL011 is for the bare-metal test guests, which know no other.

use crate::Failure;
use crate::layout::{PL011, PL011_BYTES, SERIAL, SERIAL_BYTES};
use std::fmt::Debug;
use std::io::Write;
use vm_superio::serial::NoEvents;
use vm_superio::{Serial, Trigger, serial};

/// UARTDR (DDI 0183, 3.3.1).
const PL011_DATA: u64 = 0x00;
/// UARTFR (DDI 0183, 3.3.3).
const PL011_FLAGS: u64 = 0x18;
/// UARTFR.TXFE and RXFE: nothing waits to be sent, nothing was received.
const PL011_IDLE: u8 = 1 << 7 | 1 << 4;

/// Whether somebody answered an access.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A device did.
    Answered,
    /// There is no device at the address.
    Nobody,
}

/// The devices, which write to `W` and interrupt by `T`.
#[derive(Debug)]
pub struct Devices<T: Trigger, W: Write> {
    serial: Serial<T, NoEvents, W>,
}

impl<T: Trigger, W: Write> Devices<T, W>
where
    T::E: Debug,
{
    /// Devices that nobody has touched.
    pub fn new(interrupt: T, output: W) -> Self {
        Self {
            serial: Serial::new(interrupt, output),
        }
    }

    /// Answers a load with `data.len()` bytes.
    pub fn read(&mut self, address: u64, data: &mut [u8]) -> Access {
        data.fill(0);
        let Some(first) = data.first_mut() else {
            return Access::Nobody;
        };
        match Register::of(address) {
            Some(Register::Serial(register)) => *first = self.serial.read(register),
            Some(Register::Pl011(PL011_FLAGS)) => *first = PL011_IDLE,
            Some(Register::Pl011(_)) => {}
            None => return Access::Nobody,
        }
        Access::Answered
    }

    /// Takes a store.
    ///
    /// # Errors
    /// If the output fails, or the interrupt cannot be raised.
    pub fn write(&mut self, address: u64, data: &[u8]) -> Result<Access, Failure> {
        match (Register::of(address), data.first()) {
            (Some(Register::Serial(register)), Some(&byte)) => {
                self.serial
                    .write(register, byte)
                    .map_err(|error| failure(&error))?;
            }
            (Some(Register::Pl011(PL011_DATA)), Some(byte)) => {
                let output = self.serial.writer_mut();
                output
                    .write_all(std::slice::from_ref(byte))
                    .and_then(|()| output.flush())
                    .map_err(|error| failure::<T::E>(&serial::Error::IOError(error)))?;
            }
            (Some(Register::Pl011(_)), _) => {}
            _ => return Ok(Access::Nobody),
        }
        Ok(Access::Answered)
    }

    /// Gives the serial port input, as much as it has room for; returns how many bytes it took.
    ///
    /// # Errors
    /// If the interrupt cannot be raised.
    pub fn receive(&mut self, input: &[u8]) -> Result<usize, Failure> {
        if self.serial.fifo_capacity() == 0 {
            return Ok(0);
        }
        self.serial
            .enqueue_raw_bytes(input)
            .map_err(|error| failure(&error))
    }
}

/// A register of a device.
enum Register {
    Serial(u8),
    Pl011(u64),
}

impl Register {
    fn of(address: u64) -> Option<Self> {
        let within = |base: u64, bytes: u64| address.checked_sub(base).filter(|at| *at < bytes);
        let serial = within(SERIAL, SERIAL_BYTES).map(|register| Self::Serial(register as u8));
        serial.or_else(|| within(PL011, PL011_BYTES).map(Self::Pl011))
    }
}

fn failure<E: Debug>(error: &serial::Error<E>) -> Failure {
    Failure::new(match error {
        serial::Error::IOError(error) => format!("cannot write the guest's output: {error}"),
        other => format!("the serial port fails: {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;
    use std::io;
    use std::rc::Rc;

    #[derive(Clone, Default)]
    struct Interrupts(Rc<Cell<u32>>);

    impl Trigger for Interrupts {
        type E = io::Error;

        fn trigger(&self) -> io::Result<()> {
            self.0.set(self.0.get() + 1);
            Ok(())
        }
    }

    fn devices() -> (Devices<Interrupts, Vec<u8>>, Interrupts) {
        let interrupts = Interrupts::default();
        (Devices::new(interrupts.clone(), Vec::new()), interrupts)
    }

    fn output(devices: &Devices<Interrupts, Vec<u8>>) -> &[u8] {
        devices.serial.writer()
    }

    #[test]
    fn both_ports_send_to_the_same_output() {
        let (mut devices, _) = devices();
        assert_eq!(devices.write(SERIAL, b"a"), Ok(Access::Answered));
        assert_eq!(devices.write(PL011, b"b\0\0\0"), Ok(Access::Answered));
        assert_eq!(output(&devices), b"ab");
    }

    #[test]
    fn the_pl011_is_always_ready_and_never_receives() {
        let (mut devices, _) = devices();
        let mut flags = [0xff; 4];
        assert_eq!(devices.read(PL011 + 0x18, &mut flags), Access::Answered);
        assert_eq!(flags, [0x90, 0, 0, 0]);
        assert_eq!(
            devices.write(PL011 + 0x30, &[1, 3, 0, 0]),
            Ok(Access::Answered)
        );
        assert_eq!(output(&devices), b"");
    }

    #[test]
    fn input_interrupts_a_guest_that_asked_for_it() {
        let (mut devices, interrupts) = devices();
        // Interrupt Enable Register: received data available.
        devices.write(SERIAL + 1, &[1]).expect("written");
        assert_eq!(devices.receive(b"hi"), Ok(2));
        assert_eq!(interrupts.0.get(), 1);
        let mut byte = [0];
        assert_eq!(devices.read(SERIAL, &mut byte), Access::Answered);
        assert_eq!(&byte, b"h");
    }

    #[test]
    fn a_full_port_takes_no_more() {
        let (mut devices, _) = devices();
        assert_eq!(devices.receive(&[b'x'; 100]), Ok(64));
        assert_eq!(devices.receive(b"y"), Ok(0));
    }

    #[test]
    fn elsewhere_nobody_answers() {
        let (mut devices, _) = devices();
        for address in [0, PL011 - 1, SERIAL + SERIAL_BYTES, u64::MAX] {
            assert_eq!(
                devices.read(address, &mut [0; 4]),
                Access::Nobody,
                "{address:#x}"
            );
            assert_eq!(
                devices.write(address, &[0; 4]),
                Ok(Access::Nobody),
                "{address:#x}"
            );
        }
    }

    #[test]
    fn an_output_that_fails_is_told() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("broken"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut devices = Devices::new(Interrupts::default(), Broken);
        let told = Failure::new("cannot write the guest's output: broken");
        assert_eq!(devices.write(SERIAL, b"a"), Err(told.clone()));
        assert_eq!(devices.write(PL011, b"a"), Err(told));
    }
}
