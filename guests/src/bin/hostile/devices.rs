//! Accesses of every size and alignment to every offset of the emulated devices, and SGIs to every pattern of targets.

use crate::probe::{NOTHING, Prober, VECTORS};
use core::fmt;
use droste_guests::encode::{Name, load, store};
use droste_guests::map::{self, Window};
use droste_guests::mmio::{Device, GICD, RTC, UART};
use droste_guests::tree::Machine;
use droste_guests::{console, gic};

/// Offsets below this, and the last page's, see every kind of access; the others see one kind each, in turn.
const DENSE_BYTES: usize = 0x1000;

/// Size (log2 of bytes), skew from the 4-byte offset, and the value stored; `None` is a load.
const KINDS: [(u32, u64, Option<u64>); 14] = [
    (0, 0, None),
    (1, 0, None),
    (2, 0, None),
    (3, 0, None),
    (0, 3, None),
    (1, 1, None),
    (2, 2, None),
    (3, 1, None),
    (0, 1, Some(u64::MAX)),
    (1, 0, Some(u64::MAX)),
    (2, 0, Some(u64::MAX)),
    (3, 0, Some(u64::MAX)),
    (2, 1, Some(0)),
    (2, 0, Some(0)),
];

/// Loads and stores whose syndrome does not describe them: LDP, STP, LDR and STR of a vector, LDXR, post-index.
const UNDESCRIBED: [u32; 6] = [
    0xa9400820, 0xa9000820, 0x3dc00020, 0x3d800020, 0xc85f7c20, 0xb8404420,
];

const ICC_SGI1R: Name = Name::new(3, 0, 12, 11, 5);
const ICC_ASGI1R: Name = Name::new(3, 0, 12, 11, 6);
const ICC_SGI0R: Name = Name::new(3, 0, 12, 11, 7);

/// What a failure is about.
struct Subject {
    code: u32,
    ipa: u64,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "instruction {:#010x} at {:#x}", self.code, self.ipa)
    }
}

/// All devices, then the SGIs; leaves the UART usable and the GIC silent.
pub(crate) fn probe(prober: &mut Prober, machine: &Machine) {
    probe_device(prober, GICD);
    (0..machine.vcpus).for_each(|vcpu| probe_device(prober, Device::gicr(vcpu)));
    if machine.has_rtc {
        probe_device(prober, RTC);
    }
    probe_device(prober, UART);
    console::reset();
    probe_sgis(prober);
    gic::silence_spis();
    gic::silence_cpu(0);
}

fn probe_device(prober: &mut Prober, device: Device) {
    for (n, offset) in (0..device.bytes()).step_by(4).enumerate() {
        let is_dense = offset < DENSE_BYTES || offset >= device.bytes() - DENSE_BYTES / 16;
        for (k, (size, skew, stored)) in KINDS.into_iter().enumerate() {
            let (ipa, is_data) = (
                device.base() + offset as u64 + skew,
                device.base() == UART.base() && offset < 4,
            );
            // Writes to the UART's data register would print.
            if (is_dense || n % KINDS.len() == k) && !(is_data && stored.is_some()) {
                let code = if stored.is_some() {
                    store(size, 0, 1)
                } else {
                    load(size, 0, 1)
                };
                access(prober, code, ipa, stored.unwrap_or(0));
            }
        }
    }
    for code in UNDESCRIBED {
        access(prober, code, device.base() + 0x20, 0);
    }
}

/// Whatever the device makes of it: an answer or an abort, by a window that lets misaligned accesses reach it.
fn access(prober: &mut Prober, code: u32, ipa: u64, value: u64) {
    for window in [Window::Normal, Window::Device] {
        let subject = Subject { code, ipa };
        let outcome = prober.run(
            &subject,
            &[code],
            [value, map::open(window, ipa), value, 0],
            VECTORS | 0b111,
        );
        if let Some(caught) = outcome.caught.filter(|c| !c.is_abort()) {
            prober.fail(&subject, format_args!("raised {caught:x?}"));
        }
    }
}

/// Target lists of one bit, none and all; affinities and ranges that exist and that do not; to all but oneself.
fn probe_sgis(prober: &mut Prober) {
    for name in [ICC_SGI1R, ICC_ASGI1R, ICC_SGI0R] {
        for list in (0..16).map(|n| 1 << n).chain([0, 0xffff]) {
            for elsewhere in [
                0,
                1 << 16,
                1 << 32,
                1 << 48,
                0xff << 16,
                1 << 40,
                1 << 44,
                0xf << 44,
                !0xff00_ffff,
            ] {
                for intid in [0, 7, 15] {
                    let value = elsewhere | intid << 24 | list;
                    let subject = Subject {
                        code: name.write(1),
                        ipa: value,
                    };
                    let outcome = prober.run(&subject, &[name.write(1)], [0, value, 0, 0], NOTHING);
                    if let Some(caught) = outcome.caught.filter(|c| !c.is_undefined()) {
                        prober.fail(&subject, format_args!("raised {caught:x?}"));
                    }
                }
            }
        }
    }
}
