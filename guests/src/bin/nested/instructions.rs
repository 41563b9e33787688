//! What EL2 executes by itself: calls to the firmware, TLB maintenance, registers.

use crate::meter::Meter;
use droste_guests::{cpu, el2, psci};
use el2::hcr;

/// PSCI 1.0 at least (DEN0022, "PSCI_VERSION"): major above minor.
const PSCI_MAJOR: u64 = 1;
/// A page that nobody uses, as the operand of an invalidation.
const ANY_PAGE: u64 = 0x8000_0000 >> 12;

/// All of it.
pub(crate) fn measure(meter: &mut Meter) {
    let version = psci::call(psci::VERSION, [0; 3]);
    meter.expect("PSCI_VERSION, major", version >> 16, PSCI_MAJOR);
    meter.section("hypercall", || {
        psci::call(psci::VERSION, [0; 3]);
    });
    invalidations(meter);
    registers(meter);
}

fn invalidations(meter: &mut Meter) {
    meter.section("tlbi-vae2is", || el2::tlbi_vae2is(ANY_PAGE));
    let host = el2::current_hcr();
    el2::set_hcr(host & !hcr::TGE);
    el2::set_vttbr(1 << 48);
    meter.section("tlbi-vmalle1is", el2::tlbi_vmalle1is);
    meter.section("tlbi-vmalls12e1is", el2::tlbi_vmalls12e1is);
    meter.section("tlbi-ipas2e1is", || el2::tlbi_ipas2e1is(ANY_PAGE));
    meter.section("tlbi-alle1is", el2::tlbi_alle1is);
    el2::set_hcr(host);
    cpu::dsb();
}

fn registers(meter: &mut Meter) {
    let cptr = el2::cptr();
    meter.section("cptr-write", || el2::set_cptr(cptr));
    meter.expect("CPTR_EL2 read back", el2::cptr(), cptr);
    el2::set_hpfar(0x1230);
    meter.expect("HPFAR_EL2 read back", el2::hpfar(), 0x1230);
    meter.section("hpfar-read", || {
        el2::hpfar();
    });
    meter.section("timer-write", || {
        el2::set_cnthp_tval(u64::from(u32::MAX) >> 1);
    });
    meter.section("timer-read", || {
        el2::cnthp_tval();
    });
    meter.section("counter-read", || {
        cpu::counter();
    });
    meter.section("id-register", || {
        cpu::id_aa64pfr0();
    });
}
