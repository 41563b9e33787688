//! Each call and each of its answers.

use super::*;

const NOT_SUPPORTED: Action = Action::Return(u64::MAX);
const INVALID_PARAMETERS: Action = Action::Return((-2i64).cast_unsigned());
const ALREADY_ON: Action = Action::Return((-4i64).cast_unsigned());
const ON_PENDING: Action = Action::Return((-5i64).cast_unsigned());
const INVALID_ADDRESS: Action = Action::Return((-9i64).cast_unsigned());
const SUCCESS: Action = Action::Return(0);
const CPU_ON: u64 = 0xc400_0003;
const CPU_ON_32: u64 = 0x8400_0003;
const AFFINITY_INFO: u64 = 0xc400_0004;
const ENTRY: u64 = 0x4008_0000;

fn firmware(vcpus: usize) -> Firmware {
    Firmware::new(
        vcpus,
        Workarounds {
            workaround_1: Workaround::Needed,
            workaround_2: Workaround::NotNeeded,
            workaround_3: Workaround::Unknown,
        },
    )
}

fn call(firmware: &mut Firmware, registers: [u64; 4]) -> Action {
    firmware.call(registers, |ipa| (0x4000_0000..0x8000_0000).contains(&ipa.0))
}

/// The answer of a fresh firmware for four vCPUs.
fn answer(registers: [u64; 4]) -> Action {
    call(&mut firmware(4), registers)
}

/// Which calls depend on who is on, or on the machine's own firmware: these are answered under its lock, and no others.
#[test]
fn only_calls_that_need_its_state_are_left_to_the_firmware() {
    let ranges = [
        0x8400_0000..0x8400_0020u64,
        0xc400_0000..0xc400_0020,
        0x8000_0000..0x8000_0004,
        0x8000_7ffe..0x8000_8001,
        0x8000_3fff..0x8000_4000,
        0x8600_ff00..0x8600_ff04,
    ];
    for function in ranges.into_iter().flatten() {
        let registers = [function, 1, ENTRY, 7];
        let alone = super::answer(registers);
        let needs_state = matches!(
            function,
            CPU_ON
                | CPU_ON_32
                | AFFINITY_INFO
                | 0x8400_0004
                | 0x8000_0001
                | 0x8000_8000
                | 0x8000_7fff
                | 0x8000_3fff
        );
        assert_eq!(alone.is_none(), needs_state, "{function:#x}");
        if let Some(alone) = alone {
            assert_eq!(alone, answer(registers), "{function:#x}");
        }
    }
}

#[test]
fn versions_are_1_1() {
    assert_eq!(answer([0x8400_0000, 0, 0, 0]), Action::Return(0x1_0001));
    assert_eq!(answer([0x8000_0000, 0, 0, 0]), Action::Return(0x1_0001));
}

#[test]
fn a_cpu_goes_through_off_pending_and_on() {
    let mut firmware = firmware(4);
    let on = [CPU_ON, 2, ENTRY, 0xdead_beef_0000_0001];
    assert_eq!(firmware.power(2), Power::Off);
    assert_eq!(
        call(&mut firmware, on),
        Action::CpuOn {
            target: 2,
            entry: Ipa(ENTRY),
            context: 0xdead_beef_0000_0001
        }
    );
    assert_eq!(firmware.power(2), Power::OnPending);
    assert_eq!(call(&mut firmware, on), ON_PENDING);
    assert_eq!(
        call(&mut firmware, [AFFINITY_INFO, 2, 0, 0]),
        Action::Return(2)
    );
    firmware.confirm_on(2);
    assert_eq!(call(&mut firmware, on), ALREADY_ON);
    assert_eq!(
        call(&mut firmware, [AFFINITY_INFO, 2, 0, 0]),
        Action::Return(0)
    );
    assert_eq!(call(&mut firmware, [0x8400_0002, 0, 0, 0]), Action::CpuOff);
    assert_eq!(call(&mut firmware, on), ALREADY_ON, "not yet stopped");
    firmware.confirm_off(2);
    assert_eq!(
        call(&mut firmware, [AFFINITY_INFO, 2, 0, 0]),
        Action::Return(1)
    );
    assert!(matches!(call(&mut firmware, on), Action::CpuOn { .. }));
}

#[test]
fn the_first_cpu_is_on_from_the_start() {
    assert_eq!(answer([CPU_ON, 0, ENTRY, 0]), ALREADY_ON);
}

#[test]
fn targets_that_do_not_exist_are_invalid() {
    for target in [
        4,
        0x10,
        0x100,
        1 << 32,
        1 << 24 | 1,
        1 << 31 | 1,
        1 << 40 | 1,
    ] {
        assert_eq!(answer([CPU_ON, target, ENTRY, 0]), INVALID_PARAMETERS);
        assert_eq!(answer([AFFINITY_INFO, target, 0, 0]), INVALID_PARAMETERS);
    }
}

#[test]
fn an_entry_outside_ram_is_an_invalid_address_and_changes_nothing() {
    let mut firmware = firmware(4);
    for entry in [0, ENTRY + 2, 0x8000_0000, !3] {
        assert_eq!(call(&mut firmware, [CPU_ON, 1, entry, 0]), INVALID_ADDRESS);
    }
    assert_eq!(firmware.power(1), Power::Off);
}

#[test]
fn a_32_bit_call_has_32_bit_arguments_and_a_64_bit_call_has_not() {
    let high = 0xffff_ffff_0000_0000;
    assert_eq!(
        answer([high | CPU_ON_32, high | 1, high | ENTRY, high | 5]),
        Action::CpuOn {
            target: 1,
            entry: Ipa(ENTRY),
            context: 5
        }
    );
    assert_eq!(answer([CPU_ON, high | 1, ENTRY, 0]), INVALID_PARAMETERS);
    assert_eq!(answer([CPU_ON, 1, high | ENTRY, 0]), INVALID_ADDRESS);
}

#[test]
fn affinity_levels_above_0_join_their_cpus() {
    let mut firmware = firmware(20);
    let mut info = |target, level| call(&mut firmware, [AFFINITY_INFO, target, level, 0]);
    assert_eq!(info(0x00ff & 3, 1), Action::Return(0), "CPU 0 is on");
    assert_eq!(info(0x100, 1), Action::Return(1), "16 to 19 are off");
    assert_eq!(info(0x100, 2), Action::Return(0));
    assert_eq!(info(0, 3), Action::Return(0));
    assert_eq!(info(0x200, 1), INVALID_PARAMETERS);
    assert_eq!(info(0, 4), INVALID_PARAMETERS);
    assert_eq!(info(0, u64::MAX), INVALID_PARAMETERS);
    assert!(matches!(
        call(&mut firmware, [CPU_ON, 0x102, ENTRY, 0]),
        Action::CpuOn { .. }
    ));
    assert_eq!(
        call(&mut firmware, [AFFINITY_INFO, 0x100, 1, 0]),
        Action::Return(2)
    );
}

#[test]
fn suspending_waits_whether_standby_or_powerdown() {
    for function in [0x8400_0001, 0xc400_0001] {
        for state in [0, 1, 0xffff, 1 << 16, 1 << 16 | 3 << 24] {
            assert_eq!(answer([function, state, ENTRY, 0]), Action::Suspend);
        }
        for state in [1 << 17, 1 << 23, 1 << 26, 1 << 31] {
            assert_eq!(answer([function, state, ENTRY, 0]), INVALID_PARAMETERS);
        }
    }
}

#[test]
fn the_system_can_be_turned_off_and_reset() {
    assert_eq!(answer([0x8400_0008, 0, 0, 0]), Action::SystemOff);
    assert_eq!(answer([0x8400_0009, 0, 0, 0]), Action::SystemReset);
    for function in [0x8400_0012, 0xc400_0012] {
        assert_eq!(answer([function, 0, 0, 0]), Action::SystemReset);
        assert_eq!(answer([function, 1, 0, 0]), INVALID_PARAMETERS);
        assert_eq!(answer([function, 1 << 31, 0, 0]), INVALID_PARAMETERS);
    }
}

#[test]
fn no_trusted_os_needs_to_migrate() {
    assert_eq!(answer([0x8400_0006, 0, 0, 0]), Action::Return(2));
    assert_eq!(answer([0x8400_0005, 0, 0, 0]), NOT_SUPPORTED);
    assert_eq!(answer([0x8400_0007, 0, 0, 0]), NOT_SUPPORTED);
}

#[test]
fn features_name_exactly_the_calls_that_answer() {
    for width in [0x8400_0000, 0xc400_0000u64] {
        for number in 0..0x20 {
            let function = width | number;
            // PSCI_FEATURES itself is asked about a call that exists.
            let is_there = answer([function, 0x8400_0000, 9, 9]) != NOT_SUPPORTED;
            let feature = answer([0x8400_000a, function, 0, 0]);
            let expected = if is_there { SUCCESS } else { NOT_SUPPORTED };
            assert_eq!(feature, expected, "{function:#x}");
        }
    }
    assert_eq!(
        answer([0x8400_000a, 0x8000_0000, 0, 0]),
        SUCCESS,
        "SMCCC_VERSION"
    );
    assert_eq!(answer([0x8400_000a, 0x8600_ff01, 0, 0]), NOT_SUPPORTED);
}

#[test]
fn workarounds_answer_as_the_machines_firmware() {
    let features = |function: u64| answer([0x8000_0001, function, 0, 0]);
    assert_eq!(features(0x8000_0000), SUCCESS);
    assert_eq!(features(0x8000_0001), SUCCESS);
    assert_eq!(features(0x8000_8000), Action::Return(0));
    assert_eq!(features(0x8000_7fff), Action::Return(1));
    assert_eq!(features(0x8000_3fff), NOT_SUPPORTED);
    assert_eq!(features(0x8400_0000), NOT_SUPPORTED);
    let called = |function: u64| answer([function, 1, 0, 0]);
    assert_eq!(
        called(0x8000_8000),
        Action::Workaround {
            function: 0x8000_8000
        }
    );
    assert_eq!(called(0x8000_7fff), SUCCESS);
    assert_eq!(called(0x8000_3fff), NOT_SUPPORTED);
}

#[test]
fn the_machines_answer_is_read_as_a_signed_word() {
    assert_eq!(Workaround::from_firmware(0), Workaround::Needed);
    assert_eq!(Workaround::from_firmware(1), Workaround::NotNeeded);
    for x0 in [u64::MAX, 0xffff_ffff, 2] {
        assert_eq!(Workaround::from_firmware(x0), Workaround::Unknown);
    }
}

#[test]
fn the_hypervisor_names_itself() {
    let bytes: [u8; 16] = [
        0x6f, 0x8d, 0x2c, 0x1e, 0x4b, 0x7a, 0x4d, 0x39, 0x9e, 0x52, 0xd4, 0x05, 0x5e, 0x0f, 0x1a,
        0x73,
    ];
    let Action::Identify(words) = answer([0x8600_ff01, 0, 0, 0]) else {
        panic!("no identity");
    };
    for (word, bytes) in words.iter().zip(bytes.chunks(4)) {
        assert_eq!(word.to_le_bytes(), bytes);
    }
}

#[test]
fn an_unknown_call_is_not_supported() {
    for function in [
        0,
        0x8400_0013,
        0xc400_0000,
        0xc400_0008,
        0x8400_0050,
        0x8600_ff03,
        0xffff_ffff,
        0x0400_0000,
        u64::MAX,
    ] {
        assert_eq!(answer([function, 0, 0, 0]), NOT_SUPPORTED, "{function:#x}");
    }
}
