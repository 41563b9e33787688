//! What a guest sees of the UART.

use super::*;
use AccessSize::{Byte, Doubleword, Halfword, Word};
use alloc::collections::VecDeque;
use proptest::prelude::*;

const FEN: u64 = 1 << 4;

/// A UART with FIFOs on and all interrupts unmasked.
fn open() -> Pl011 {
    let mut uart = Pl011::new();
    let _ = uart.write(LCR_H, Word, FEN);
    let _ = uart.write(IMSC, Word, INT_ALL.into());
    uart
}

fn flag(uart: &mut Pl011, bit: u16) -> bool {
    uart.read(FR, Word) & u64::from(bit) != 0
}

#[test]
fn linux_finds_an_arm_pl011_with_32_deep_fifos() {
    let mut uart = Pl011::new();
    let id = |uart: &mut Pl011, base: u64| {
        (0..4).fold(0, |id, n| id | uart.read(base + 4 * n, Word) << (8 * n))
    };
    assert_eq!(id(&mut uart, 0xfe0), 0x0034_1011);
    assert_eq!(id(&mut uart, 0xff0), 0xb105_f00d);
    assert_eq!(uart.read(0xfe1, Byte), 0);
}

#[test]
fn a_byte_written_is_transmitted_whatever_the_width() {
    let mut uart = Pl011::new();
    for size in [Byte, Halfword, Word, Doubleword] {
        assert_eq!(uart.write(DR, size, 0x141), Action::Transmit(0x41));
    }
}

#[test]
fn without_room_the_fifo_reads_full_and_room_interrupts() {
    let mut uart = open();
    let _ = uart.write(DR, Word, 0x41);
    assert_eq!(uart.line(), Line::High, "it fell to the trigger level");
    uart.set_transmit_room(Room::Full);
    assert_eq!(uart.line(), Line::Low);
    assert!(flag(&mut uart, FR_TXFF) && !flag(&mut uart, FR_TXFE));
    assert_eq!(
        uart.write(DR, Word, 0x42),
        Action::None,
        "lost, as in a full FIFO"
    );
    uart.set_transmit_room(Room::Free);
    assert_eq!(uart.line(), Line::High);
    assert!(flag(&mut uart, FR_TXFE) && !flag(&mut uart, FR_TXFF));
    let _ = uart.write(ICR, Word, INT_TX.into());
    assert_eq!(uart.line(), Line::Low);
    uart.set_transmit_room(Room::Free);
    assert_eq!(uart.line(), Line::Low, "nothing changed");
}

#[test]
fn no_transmit_interrupt_before_the_first_byte() {
    assert_eq!(open().line(), Line::Low);
}

#[test]
fn bytes_come_out_in_order_and_33_do_not_fit() {
    let mut uart = open();
    for byte in 0..32 {
        assert!(!flag(&mut uart, FR_RXFF));
        assert_eq!(uart.receive(byte), Receipt::Accepted);
    }
    assert!(flag(&mut uart, FR_RXFF));
    assert_eq!(
        (uart.receive(99), uart.receive_room()),
        (Receipt::Refused, 0)
    );
    for byte in 0..32 {
        assert_eq!(uart.read(DR, Word), byte);
    }
    assert!(flag(&mut uart, FR_RXFE));
    assert_eq!(uart.read(DR, Word), 0);
}

#[test]
fn without_fifos_one_byte_fits() {
    let mut uart = Pl011::new();
    let _ = uart.write(IMSC, Word, INT_RX.into());
    assert_eq!(uart.receive(1), Receipt::Accepted);
    assert_eq!(uart.line(), Line::High);
    assert_eq!(uart.receive(2), Receipt::Refused);
    assert_eq!(uart.read(DR, Word), 1);
    assert_eq!(uart.line(), Line::Low);
    assert_eq!(uart.receive(2), Receipt::Accepted);
}

#[test]
fn turning_the_fifos_off_keeps_what_was_received() {
    let mut uart = open();
    for byte in 1..4 {
        let _ = uart.receive(byte);
    }
    let _ = uart.write(LCR_H, Word, 0);
    assert_eq!(
        (uart.receive(4), uart.receive_room()),
        (Receipt::Refused, 0)
    );
    assert_eq!(uart.read(DR, Word), 1);
}

#[test]
fn the_receive_interrupt_comes_at_each_trigger_level() {
    for (select, level) in [(0, 4), (1, 8), (2, 16), (3, 24), (4, 28), (7, 28)] {
        let mut uart = open();
        let _ = uart.write(IFLS, Word, select << 3);
        let _ = uart.write(IMSC, Word, INT_RX.into());
        for n in 1..=32 {
            let _ = uart.receive(0);
            assert_eq!(uart.line().is_high(), n >= level, "{select}: {n}");
        }
        for left in (0..32).rev() {
            let _ = uart.read(DR, Word);
            assert_eq!(uart.line().is_high(), left >= level, "{select}: {left}");
        }
    }
}

#[test]
fn a_single_byte_raises_the_receive_timeout_until_it_is_read() {
    let mut uart = open();
    let _ = uart.receive(1);
    let _ = uart.receive(2);
    assert_eq!(uart.read(MIS, Word), INT_RT.into());
    let _ = uart.read(DR, Word);
    assert_eq!(uart.line(), Line::High);
    let _ = uart.read(DR, Word);
    assert_eq!(uart.line(), Line::Low);
}

#[test]
fn a_cleared_timeout_comes_again_with_the_next_byte() {
    let mut uart = open();
    let _ = uart.receive(1);
    let _ = uart.write(ICR, Word, INT_RT.into());
    assert_eq!(uart.line(), Line::Low);
    let _ = uart.receive(2);
    assert_eq!(uart.line(), Line::High);
}

#[test]
fn a_masked_interrupt_shows_raw_only() {
    let mut uart = open();
    let _ = uart.receive(1);
    let _ = uart.write(IMSC, Word, 0);
    assert_eq!(uart.read(RIS, Word), INT_RT.into());
    assert_eq!((uart.read(MIS, Word), uart.line()), (0, Line::Low));
}

#[test]
fn a_receiver_that_is_off_refuses() {
    for control in [0, CR_UARTEN, CR_RXE, CR_UARTEN | CR_RXE | CR_LBE] {
        let mut uart = open();
        let _ = uart.write(CR, Word, control.into());
        assert_eq!(uart.receive(1), Receipt::Refused, "{control:#x}");
    }
}

#[test]
fn loopback_receives_what_it_sends_and_overruns_past_its_depth() {
    let mut uart = open();
    let _ = uart.write(CR, Word, (CR_UARTEN | CR_TXE | CR_RXE | CR_LBE).into());
    for byte in 0..33 {
        assert_eq!(uart.write(DR, Word, byte), Action::None);
    }
    assert_ne!(uart.read(RIS, Word) & u64::from(INT_OE), 0);
    assert_eq!(uart.read(RSR_ECR, Word), RSR_OE.into());
    assert_eq!(uart.read(DR, Word), u64::from(DR_OE));
    let _ = uart.write(RSR_ECR, Word, 0);
    assert_eq!(uart.read(DR, Word), 1);
}

#[test]
fn loopback_joins_modem_outputs_to_inputs() {
    let mut uart = open();
    assert_eq!(uart.read(FR, Word) & 0x107, 7, "a peer is there");
    for (output, input, interrupt) in [
        (CR_RTS, FR_CTS, INT_CTS),
        (CR_DTR, FR_DSR, INT_DSR),
        (CR_OUT1, FR_DCD, INT_DCD),
        (CR_OUT2, FR_RI, INT_RI),
    ] {
        let _ = uart.write(CR, Word, CR_LBE.into());
        let _ = uart.write(ICR, Word, INT_ALL.into());
        let _ = uart.write(CR, Word, (CR_LBE | output).into());
        assert_eq!(uart.read(FR, Word) & 0x107, input.into());
        assert_eq!(uart.read(RIS, Word), interrupt.into());
    }
}

#[test]
fn settings_read_back_in_their_width() {
    for (offset, kept) in [
        (ILPR, 0xff),
        (IBRD, 0xffff),
        (FBRD, 0x3f),
        (LCR_H, 0xff),
        (CR, 0xff87),
        (IFLS, 0x3f),
        (IMSC, 0x7ff),
        (DMACR, 7),
        (RIS, 0),
        (MIS, 0),
        (RSR_ECR, 0),
    ] {
        let mut uart = Pl011::new();
        let _ = uart.write(offset, Word, u64::MAX);
        assert_eq!(uart.read(offset, Word), kept, "{offset:#x}");
    }
}

proptest! {
    #[test]
    fn whatever_the_guest_does_accepted_bytes_come_once_and_in_order(
        events in proptest::collection::vec(
            (0..3u8, 0..0x1100u64, 0..4usize, any::<u64>()), 0..300),
    ) {
        let mut uart = Pl011::new();
        let mut waiting = VecDeque::new();
        for (kind, offset, size, value) in events {
            let size = [Byte, Halfword, Word, Doubleword][size];
            match kind {
                0 => if uart.receive(value as u8) == Receipt::Accepted {
                    waiting.push_back(value as u8);
                },
                1 => {
                    let expected = waiting.pop_front().unwrap_or(0);
                    prop_assert_eq!(uart.read(DR, size), expected.into());
                }
                // Loopback would put bytes of the guest's own between.
                _ if offset == CR => {
                    let _ = uart.write(CR, size, value & !u64::from(CR_LBE));
                }
                _ => {
                    let _ = uart.write(offset, size, value);
                    if offset != DR {
                        prop_assert_eq!(uart.read(offset, size) & !size.mask(), 0);
                    }
                }
            }
            prop_assert_eq!(flag(&mut uart, FR_RXFE), waiting.is_empty());
        }
    }
}
