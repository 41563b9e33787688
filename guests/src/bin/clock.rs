//! The real time clock: it shows the machine's time, goes by seconds, can be set, and its alarm interrupts. Runs at EL1, and
//! at EL2 if it is a hypervisor.
//!
//! On Droste it starts itself anew in the end, to see that its time goes on and its alarm does not; the word `bare` on the
//! command line is for the machine that QEMU calls `virt`, where a reset may end the run. The word `none` is for a machine
//! that has no clock. Prints each difference, then `clock: N checks` and `clock: ok` when there was none.

#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(target_os = "none")]
mod guest {
    use droste_guests::checks::Checks;
    use droste_guests::el2::hcr;
    use droste_guests::mmio::RTC;
    use droste_guests::time::wait_until;
    use droste_guests::tree::Machine;
    use droste_guests::{cpu, el2, gic, psci, smp, trap};

    droste_guests::guest!(main: main, secondary: smp::none, exception: trap::unexpected_always);

    const DR: usize = 0x00;
    const MR: usize = 0x04;
    const LR: usize = 0x08;
    const CR: usize = 0x0c;
    const IMSC: usize = 0x10;
    const RIS: usize = 0x14;
    const MIS: usize = 0x18;
    const ICR: usize = 0x1c;
    const PERIPH_ID: usize = 0xfe0;

    /// Its interrupt.
    const INTID: u32 = 34;
    /// 2025-01-01: no machine's clock is behind that.
    const BEGIN: u32 = 1_735_689_600;
    /// What the first life sets the clock to, and a time that the second one's is before.
    const SET: u32 = 1000;
    const SOON: u32 = 1_000_000;

    fn main(machine: Machine) {
        if cpu::is_el2() {
            el2::begin("clock", &machine);
            el2::prepare(0);
            el2::set_hcr(el2::current_hcr() | hcr::IMO);
        } else {
            gic::enable_distributor();
            gic::enable_cpu(0, 0);
        }
        let mut checks = Checks::new("clock");
        assert!(
            machine.has_rtc != machine.has_argument("none"),
            "the tree shows another clock than there is"
        );
        if machine.has_rtc {
            let is_second_life = (SET..SOON).contains(&RTC.read(DR));
            if is_second_life {
                expect_renewed(&mut checks);
            } else {
                try_all(&mut checks);
                if !machine.has_argument("bare") {
                    RTC.write(LR, SET);
                    RTC.write(MR, SET + 1);
                    RTC.write(IMSC, 1);
                    checks.must_be_well();
                    psci::call(psci::SYSTEM_RESET, [0; 3]);
                }
            }
        }
        checks.report();
    }

    /// A second life: the time goes on, the alarm is gone.
    fn expect_renewed(checks: &mut Checks) {
        gic::enable_spi(INTID);
        for (name, register) in [("RTCIMSC", IMSC), ("RTCMIS", MIS), ("RTCMR", MR)] {
            checks.expect(name, RTC.read(register).into(), 0);
        }
        wait_until("the second after the alarm", || RTC.read(DR) > SET + 1);
        let taken = gic::take().unwrap_or(gic::SPURIOUS);
        checks.expect(
            "an alarm of an earlier life",
            taken.into(),
            gic::SPURIOUS.into(),
        );
    }

    fn try_all(checks: &mut Checks) {
        let identification = (0..8).map(|n| RTC.read(PERIPH_ID + 4 * n) & 0xff);
        let identification =
            identification.fold(0_u64, |all, byte| all >> 8 | u64::from(byte) << 56);
        // All but the revision.
        checks.expect(
            "identification",
            identification & !0xf0_0000,
            0xb105_f00d_0004_1031,
        );
        checks.expect("RTCCR", RTC.read(CR).into(), 1);
        let now = RTC.read(DR);
        checks.expect(
            "a time before the test was written",
            (now >= BEGIN).into(),
            1,
        );
        wait_until("a second", || RTC.read(DR) != now);

        RTC.write(LR, SET);
        let seen = RTC.read(DR);
        checks.expect("set", (SET..SOON).contains(&seen).into(), 1);
        checks.expect("RTCLR", RTC.read(LR).into(), SET.into());

        try_alarm(checks);

        RTC.write(LR, u32::MAX - 1);
        wait_until("the end of 32 bits", || RTC.read(DR) < SET);
    }

    fn try_alarm(checks: &mut Checks) {
        gic::enable_spi(INTID);
        // Behind a mask.
        RTC.write(IMSC, 0);
        RTC.write(ICR, 1);
        arm_in(1);
        wait_until("an alarm behind a mask", || RTC.read(RIS) == 1);
        checks.expect("RTCMIS behind a mask", RTC.read(MIS).into(), 0);
        checks.expect("a line behind a mask", gic::is_spi_pending(INTID).into(), 0);
        RTC.write(IMSC, 1);
        checks.expect("RTCMIS", RTC.read(MIS).into(), 1);
        wait_until("a line that rises", || gic::is_spi_pending(INTID));
        RTC.write(ICR, 1);
        wait_until("a line that falls", || !gic::is_spi_pending(INTID));
        // While nobody looks at the clock: awake, and asleep, where the interrupt alone ends it.
        for is_asleep in [false, true] {
            arm_in(2);
            expect_alarm(checks, is_asleep);
            checks.expect(
                "the alarm's second",
                (RTC.read(DR) >= RTC.read(MR)).into(),
                1,
            );
        }
        // At once.
        RTC.write(MR, SET);
        RTC.write(LR, SET);
        expect_alarm(checks, true);
        RTC.write(IMSC, 0);
    }

    /// Sets the alarm so many seconds ahead. If they have passed before it is set, it would come in 136 years.
    fn arm_in(seconds: u32) {
        wait_until("an alarm that is ahead", || {
            let due = RTC.read(DR) + seconds;
            RTC.write(MR, due);
            RTC.read(DR) < due || RTC.read(RIS) == 1
        });
    }

    /// Takes the alarm and ends it.
    fn expect_alarm(checks: &mut Checks, is_asleep: bool) {
        let mut taken = None;
        wait_until("the alarm", || {
            if is_asleep {
                cpu::wfi();
            }
            taken = gic::take();
            taken.is_some()
        });
        checks.expect("the alarm", taken.unwrap_or_default().into(), INTID.into());
        checks.expect("RTCMIS at the alarm", RTC.read(MIS).into(), 1);
        RTC.write(ICR, 1);
        wait_until("a line that falls under an active one", || {
            !gic::is_spi_pending(INTID)
        });
        taken.into_iter().for_each(gic::end);
    }
}

#[cfg(not(target_os = "none"))]
fn main() {}
