//! RAM disks of a Linux that is a hypervisor and of the Linux that it starts, with programs that mark the stages.
//!
//! Everything comes in L1's RAM disk and nothing on a virtual disk: when a disk's request is done depends on the host,
//! and the counts would too.

use super::super::runs::Linux;
use super::super::trace::{PRINT_EXITS, STAGE_END};
use crate::workspace::Failure;
use droste::files::read;
use droste::setup::Setup;
use droste::setup::initrd::with_programs;

/// The mark that begins a stage.
const STAGE_BEGIN: u32 = 1;
/// What busybox's init runs in place of the shell, and what that is.
pub(in super::super) const INITTAB: &str = "::sysinit:/etc/stages\n";
const STAGES: &str = "etc/stages";
/// L1's: its boot is over; L2 boots to its own `STAGES` and ends; so does a guest that does one exit after another; the
/// console has sent all; off.
const L1: &str = "#!/bin/sh
/bin/begin
l2 -v vmm -m 128 </dev/null
/bin/end
l2 -v vmm -k exits </dev/null
echo nested: off
stty -F /dev/console onlcr
poweroff -f
";
/// That of an L1 whose only guest is a bare-metal one; off.
const TICKING: &str = "#!/bin/sh
l2 -v vmm -m 128 -k kernel </dev/null
echo nested: off
stty -F /dev/console onlcr
poweroff -f
";
/// L2's: its boot is over; off.
const L2: &str = "#!/bin/sh
/bin/next
poweroff -f
";

/// The RAM disk of L1, with `linux` for its guests.
///
/// # Errors
/// If a part cannot be had.
pub(in super::super) fn l1(linux: &Linux) -> Result<Vec<u8>, Failure> {
    let setup = Setup::new()?;
    let plain = read(&setup.initrd(None)?)?;
    let begin = mark_program(&[PRINT_EXITS, STAGE_BEGIN]);
    let next = mark_program(&[STAGE_END, PRINT_EXITS, STAGE_BEGIN]);
    let end = mark_program(&[STAGE_END, PRINT_EXITS]);
    let lay = |programs: &[(&str, &[u8])]| {
        with_programs(&plain, programs)
            .map_err(|e| Failure::new(format!("cannot build a RAM disk: {e}")))
    };
    let l2 = lay(&[
        ("etc/inittab", INITTAB.as_bytes()),
        (STAGES, L2.as_bytes()),
        ("bin/next", &next),
    ])?;
    lay(&[
        ("etc/inittab", INITTAB.as_bytes()),
        (STAGES, L1.as_bytes()),
        ("bin/begin", &begin),
        ("bin/end", &end),
        ("mnt/droste-vmm", &read(&setup.monitor()?)?),
        ("mnt/kernel", &read(&linux.kernel)?),
        ("mnt/initrd", &l2),
        ("mnt/exits", &read(&setup.guest("exits")?)?),
    ])
}

/// The RAM disk of an L1 whose guest is `ticks`.
///
/// # Errors
/// If a part cannot be had.
pub(super) fn ticking() -> Result<Vec<u8>, Failure> {
    let setup = Setup::new()?;
    with_programs(
        &read(&setup.initrd(None)?)?,
        &[
            ("etc/inittab", INITTAB.as_bytes()),
            (STAGES, TICKING.as_bytes()),
            ("mnt/droste-vmm", &read(&setup.monitor()?)?),
            ("mnt/kernel", &read(&setup.guest("ticks")?)?),
        ],
    )
    .map_err(|e| Failure::new(format!("cannot build a RAM disk: {e}")))
}

/// The RAM disk of an L1 that examines itself by the words of its command line, with `linux` for its guests.
///
/// # Errors
/// If a part cannot be had.
pub(in super::super) fn examining(linux: &Linux) -> Result<Vec<u8>, Failure> {
    let setup = Setup::new()?;
    let plain = read(&setup.initrd(None)?)?;
    with_programs(
        &plain,
        &[
            ("mnt/droste-vmm", &read(&setup.monitor()?)?),
            ("mnt/kernel", &read(&linux.kernel)?),
            ("mnt/initrd", &plain),
        ],
    )
    .map_err(|e| Failure::new(format!("cannot build a RAM disk: {e}")))
}

/// A program for 64-bit Arm Linux that executes these marks in order and exits: an ELF file of one segment. Marks are
/// hints, which EL0 may execute (DDI 0487, C6.2, "HINT").
pub(in super::super) fn mark_program(marks: &[u32]) -> Vec<u8> {
    const HINT_0X60: u32 = 0xd503_2c1f;
    const EXIT_WITH_0: [u32; 3] = [0xd280_0000, 0xd280_0ba8, 0xd400_0001];
    const HEADERS: u64 = 64 + 56;
    const BASE: u64 = 0x40_0000;
    const ALIGNMENT: u64 = 0x1_0000;
    let hints = marks.iter().map(|mark| HINT_0X60 + (mark << 5));
    let code: Vec<u8> = hints
        .chain(EXIT_WITH_0)
        .flat_map(u32::to_le_bytes)
        .collect();
    let bytes = HEADERS + code.len() as u64;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2_u16, 183].map(u16::to_le_bytes).concat());
    file.extend(1_u32.to_le_bytes());
    file.extend([BASE + HEADERS, 64, 0].map(u64::to_le_bytes).concat());
    file.extend(0_u32.to_le_bytes());
    file.extend([64_u16, 56, 1, 64, 0, 0].map(u16::to_le_bytes).concat());
    file.extend([1_u32, 5].map(u32::to_le_bytes).concat());
    file.extend(
        [0, BASE, BASE, bytes, bytes, ALIGNMENT]
            .map(u64::to_le_bytes)
            .concat(),
    );
    file.extend(code);
    file
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_program_is_a_whole_elf_file_with_its_marks_in_order() {
        let file = mark_program(&[14, 1]);
        let word = |at: usize| u32::from_le_bytes(file[at..at + 4].try_into().expect("4 bytes"));
        assert_eq!(word(24), 0x40_0078, "where it starts");
        assert_eq!(word(64 + 32) as usize, file.len(), "what is loaded");
        // HINT #imm has imm at bits 11:5.
        assert_eq!([word(120), word(124)], [0xd503_2ddf, 0xd503_2c3f]);
        assert_eq!(word(file.len() - 4), 0xd400_0001, "the exit");
    }

    #[test]
    fn what_the_stages_run_is_there() {
        for program in ["/bin/begin", "/bin/end"] {
            assert!(L1.contains(program));
        }
        assert!(L2.contains("/bin/next"));
        assert!(INITTAB.contains(STAGES));
    }
}
