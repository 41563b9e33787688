//! `cargo xtask image`: reads the machine code of the EL2 binary, and looks that nothing there depends on a guest's
//! traps.
//!
//! Parts of what a guest hypervisor writes are merged into EL2's own controls while its guest is loaded. Most bits of
//! those trap EL1 and EL0 alone. [`trapped`] has the few that take an instruction from EL2 too; such an instruction may
//! stand only in the section whose code opens that control first. The compiler might put one anywhere, and so might a
//! line of assembly: so it is the linked image that is read, word by word.

mod trapped;

use crate::workspace::{self, Failure};
use object::read::elf::ElfFile64;
use object::{Endianness, Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};
use std::collections::BTreeMap;
use std::fmt;
use trapped::{TRAPPED, Trapped};

/// What is read: the package, its target and its profile, as `ci` builds them.
const PACKAGE: &str = "droste-hv";
const TARGET: &str = "aarch64-unknown-none-softfloat";
const PROFILE: &str = "el2";

/// An instruction that stands where it must not.
#[derive(Debug)]
struct Finding {
    section: String,
    address: u64,
    instruction: u32,
    function: String,
    rule: &'static Trapped,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            section,
            address,
            instruction,
            function,
            rule,
        } = self;
        write!(
            f,
            "error: {section} {address:#x}, in {function}: {instruction:#010x} is {}, which {} takes from EL2 as well",
            rule.what, rule.control
        )?;
        match rule.section {
            Some(section) => write!(f, ": it belongs into the section {section}"),
            None => write!(f, ": EL2 does without"),
        }
    }
}

/// Builds the binary and judges it; findings go to standard output.
///
/// # Errors
/// If it does not build, cannot be read, or has an instruction where it must not.
pub(crate) fn run() -> Result<(), Failure> {
    let mut build = workspace::cargo();
    build.args(["build", "--quiet", "--package", PACKAGE]);
    build.args(["--target", TARGET, "--profile", PROFILE]);
    workspace::run(&mut build)?;
    let path = workspace::target_folder()?
        .join(TARGET)
        .join(PROFILE)
        .join(PACKAGE);
    let bytes = std::fs::read(&path)
        .map_err(|e| Failure::new(format!("cannot read {}: {e}", path.display())))?;
    let (findings, seen) = judge(&bytes)
        .map_err(|e| Failure::new(format!("{} is no ELF file: {e}", path.display())))?;
    for finding in &findings {
        println!("{finding}");
    }
    if !findings.is_empty() {
        let count = findings.len();
        return Err(Failure::new(format!(
            "{count} instructions of EL2's depend on a guest's traps"
        )));
    }
    // A section that is empty, or named otherwise, would make the check say nothing.
    let mut sections = TRAPPED.iter().filter_map(|rule| rule.section);
    match sections.find(|section| !seen.contains_key(section)) {
        Some(section) => Err(Failure::new(format!(
            "the section {section} has none of the instructions that it is for"
        ))),
        None => Ok(()),
    }
}

/// What stands where it must not, and how many of the others each section has.
fn judge(elf: &[u8]) -> object::Result<(Vec<Finding>, BTreeMap<&'static str, usize>)> {
    let file = ElfFile64::<Endianness>::parse(elf)?;
    let mut findings = Vec::new();
    let mut seen = BTreeMap::new();
    for section in file.sections() {
        if section.kind() != SectionKind::Text {
            continue;
        }
        let name = section.name()?;
        let map = Map::of(&file, section.index());
        let (words, _) = section.data()?.as_chunks::<4>();
        for (address, word) in (section.address()..).step_by(4).zip(words) {
            let instruction = u32::from_le_bytes(*word);
            if map.is_data(address) {
                continue;
            }
            for rule in TRAPPED.iter().filter(|rule| (rule.is)(instruction)) {
                match rule.section {
                    Some(section) if section == name => *seen.entry(section).or_default() += 1,
                    _ => findings.push(Finding {
                        section: name.to_owned(),
                        address,
                        instruction,
                        function: map.function(address),
                        rule,
                    }),
                }
            }
        }
    }
    Ok((findings, seen))
}

/// What the symbols of a section say of its bytes.
struct Map<'a> {
    /// From each address on, whether there is data: the mapping symbols `$d` and `$x` (Arm's ELF for AArch64, "Mapping
    /// symbols").
    data: BTreeMap<u64, bool>,
    functions: BTreeMap<u64, &'a str>,
}

impl<'a> Map<'a> {
    fn of(file: &ElfFile64<'a, Endianness>, section: object::SectionIndex) -> Self {
        let mut map = Self {
            data: BTreeMap::new(),
            functions: BTreeMap::new(),
        };
        let symbols = file
            .symbols()
            .filter(|symbol| symbol.section_index() == Some(section));
        for symbol in symbols {
            let (name, at) = (symbol.name().unwrap_or_default(), symbol.address());
            let kind = name.split('.').next().unwrap_or(name);
            match kind {
                "$d" => _ = map.data.insert(at, true),
                "$x" => _ = map.data.insert(at, false),
                _ => _ = map.functions.insert(at, name),
            }
        }
        map
    }

    fn is_data(&self, address: u64) -> bool {
        let last = self.data.range(..=address).next_back();
        last.is_some_and(|(_, is_data)| *is_data)
    }

    fn function(&self, address: u64) -> String {
        match self.functions.range(..=address).next_back() {
            Some((at, name)) => format!("{name} + {:#x}", address - at),
            None => "no function".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::write::{Object, StandardSection, Symbol, SymbolSection};
    use object::{Architecture, BinaryFormat, SymbolFlags, SymbolKind, SymbolScope};

    const NOP: u32 = 0xd503_201f;
    /// STP Q0, Q1, [SP].
    const STP_Q: u32 = 0xad00_07e0;
    /// MRS X0, FPCR.
    const MRS_FPCR: u32 = 0xd53b_4400;
    /// HVC #0.
    const HVC: u32 = 0xd400_0002;

    /// An object of sections with these words; data begins in `.text` at the byte that is named.
    fn elf(sections: &[(&str, &[u32])], data_at: Option<u64>) -> Vec<u8> {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::Aarch64, Endianness::Little);
        for (name, words) in sections {
            let id = match *name {
                ".text" => object.section_id(StandardSection::Text),
                _ => object.add_section(vec![], name.as_bytes().to_vec(), SectionKind::Text),
            };
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
            object.append_section_data(id, &bytes, 4);
            let mut symbol = |name: &str, value, kind| {
                object.add_symbol(Symbol {
                    name: name.as_bytes().to_vec(),
                    value,
                    size: 0,
                    kind,
                    scope: SymbolScope::Compilation,
                    weak: false,
                    section: SymbolSection::Section(id),
                    flags: SymbolFlags::None,
                });
            };
            symbol("here", 0, SymbolKind::Text);
            if let Some(at) = data_at.filter(|_| *name == ".text") {
                symbol("$x.0", 0, SymbolKind::Label);
                symbol("$d.1", at, SymbolKind::Label);
            }
        }
        object.write().expect("an object")
    }

    fn found(sections: &[(&str, &[u32])], data_at: Option<u64>) -> Vec<String> {
        let (findings, _) = judge(&elf(sections, data_at)).expect("an object");
        findings.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn vector_registers_outside_their_section_are_found_with_their_place() {
        let findings = found(
            &[(".text", &[NOP, STP_Q, MRS_FPCR]), (".simd", &[STP_Q])],
            None,
        );
        assert_eq!(findings.len(), 2, "{findings:?}");
        let wanted = [".text 0x4, in here + 0x4", "CPTR_EL2.TFP", "section .simd"];
        for part in wanted {
            assert!(findings[0].contains(part), "{part} in {}", findings[0]);
        }
        assert!(findings[1].contains("in here + 0x8"), "{}", findings[1]);
    }

    #[test]
    fn in_their_section_they_are_counted() {
        let image = elf(
            &[(".text", &[NOP]), (".simd", &[STP_Q, NOP, MRS_FPCR])],
            None,
        );
        let (findings, seen) = judge(&image).expect("an object");
        assert!(findings.is_empty(), "{findings:?}");
        assert_eq!(seen.get(".simd"), Some(&2));
    }

    #[test]
    fn what_belongs_nowhere_is_found_anywhere() {
        let findings = found(&[(".text", &[HVC]), (".simd", &[HVC])], None);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings[0].contains("EL2 does without"), "{}", findings[0]);
    }

    #[test]
    fn data_in_text_is_no_instruction() {
        assert_eq!(found(&[(".text", &[NOP, STP_Q])], Some(4)), [""; 0]);
        assert_eq!(found(&[(".text", &[STP_Q, STP_Q])], Some(4)).len(), 1);
    }

    #[test]
    fn what_is_no_elf_file_is_refused() {
        assert!(judge(b"no ELF file").is_err());
    }
}
