//! The rules that one source file keeps or breaks.

use super::source::{Source, line_of};
use super::{Finding, Severity};

/// Past this many lines before its tests a file is listed.
const LONG_LINES: usize = 400;
/// Past this many it is refused.
const TOO_LONG_LINES: usize = 600;
/// Where unsafe code may stand: the machine itself, the bare-metal guests, and what QEMU loads.
const UNSAFE_FOLDERS: [&str; 3] = ["hv/src/arch/", "guests/", "plugin/"];
/// Module names that say nothing.
const EMPTY_NAMES: [&str; 6] = ["util", "utils", "common", "base", "helper", "helpers"];
/// Who arms timers and reads clocks for the guests, and the modules with the wrappers of one instruction each that it does
/// so by.
const TIMER_OWNERS: [&str; 3] = [
    "guests/src/time.rs",
    "guests/src/cpu.rs",
    "guests/src/el2.rs",
];
/// What arms a timer, what tells ticks from time, and `B .`, a wait without end.
const TIMER_WORDS: [&str; 9] = [
    "set_virtual_timer_compare",
    "set_virtual_timer_control",
    "set_cnthp_ctl",
    "set_cnthv_ctl",
    "set_cntp_ctl",
    "set_cntv_ctl",
    "counter_frequency",
    "0x14000000",
    "0x1400_0000",
];
/// Words that leave something open.
const OPEN_WORDS: [&str; 3] = ["TODO", "FIXME", "XXX"];
/// Library crates that run on the host alone, and so may use `std`.
const HOST_LIBRARIES: [&str; 3] = ["crates/judge/", "crates/mmu-model/", "crates/trials/"];
/// A test's name is a sentence: no fewer words than this.
const SENTENCE_WORDS: usize = 3;

type Rule = fn(&Source) -> Vec<Finding>;

/// Where EL2 changes words that a guest may be storing to.
const GUEST_WORDS: &str = "hv/src/memory/l1_memory.rs";
/// What would change them by a loop that lasts as long as others store there.
const LOOPS: [&str; 4] = ["Hardware", "Machine", "AtomicU64", "atomic"];

/// All rules.
pub(crate) const RULES: [Rule; 10] = [
    length,
    unsafe_code,
    crate_attributes,
    open_work,
    test_names,
    ignored_tests,
    module_names,
    guests_time,
    guest_words,
    tests_state,
];

fn length(source: &Source) -> Vec<Finding> {
    let lines = source.lines_before_tests();
    if lines <= LONG_LINES {
        return Vec::new();
    }
    let severity = if lines <= TOO_LONG_LINES {
        Severity::Warning
    } else {
        Severity::Error
    };
    let message = format!(
        "{lines} lines before its tests: split it (aim below {LONG_LINES}, never over {TOO_LONG_LINES})"
    );
    vec![Finding {
        severity,
        ..Finding::error(source, 1, "file length", message)
    }]
}

fn unsafe_code(source: &Source) -> Vec<Finding> {
    if UNSAFE_FOLDERS
        .iter()
        .any(|folder| source.path.starts_with(folder))
    {
        return Vec::new();
    }
    let message = || format!("unsafe belongs into {}", UNSAFE_FOLDERS.join(" or "));
    words(&source.code, "unsafe")
        .map(|at| Finding::at(source, &source.code, at, "unsafe", message()))
        .collect()
}

fn crate_attributes(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("crates/") || !source.path.ends_with("/src/lib.rs") {
        return Vec::new();
    }
    let runs_on_host = HOST_LIBRARIES
        .iter()
        .any(|folder| source.path.starts_with(folder));
    let has = |wanted: &str| {
        source
            .attributes()
            .iter()
            .any(|(_, attribute)| *attribute == wanted)
    };
    [("[forbid(unsafe_code)]", true), ("[no_std]", !runs_on_host)]
        .into_iter()
        .filter(|(wanted, applies)| *applies && !has(wanted))
        .map(|(wanted, _)| {
            Finding::error(
                source,
                1,
                "crate attributes",
                format!("a library crate starts with #!{wanted}"),
            )
        })
        .collect()
}

fn guest_words(source: &Source) -> Vec<Finding> {
    if source.path != GUEST_WORDS {
        return Vec::new();
    }
    let message = "a guest's words are changed by arch::guest_word, by one instruction: a loop of exclusives may last for ever";
    let found = LOOPS.iter().flat_map(|word| words(&source.code, word));
    found
        .map(|at| Finding::at(source, &source.code, at, "guest words", message.to_owned()))
        .collect()
}

fn open_work(source: &Source) -> Vec<Finding> {
    let message =
        |word: &str| format!("`{word}` leaves something open: do it, or write down why not");
    let left = OPEN_WORDS.into_iter().flat_map(|word| {
        words(&source.comments, word)
            .map(move |at| Finding::at(source, &source.comments, at, "open work", message(word)))
    });
    left.collect()
}

fn test_names(source: &Source) -> Vec<Finding> {
    test_functions(source)
        .filter(|(_, name)| {
            name.starts_with("test_")
                || name.split('_').filter(|w| !w.is_empty()).count() < SENTENCE_WORDS
        })
        .map(|(line, name)| {
            Finding::error(
                source,
                line,
                "test names",
                format!("`{name}` is no sentence"),
            )
        })
        .collect()
}

fn ignored_tests(source: &Source) -> Vec<Finding> {
    let is_ignore = |attribute: &str| attribute.starts_with("[ignore");
    source
        .attributes()
        .into_iter()
        .filter(|(_, attribute)| is_ignore(attribute))
        .map(|(line, _)| {
            Finding::error(
                source,
                line,
                "ignored tests",
                "a test that nobody runs keeps no rule".to_owned(),
            )
        })
        .collect()
}

fn module_names(source: &Source) -> Vec<Finding> {
    let is_empty_name = |part: &str| EMPTY_NAMES.contains(&part.trim_end_matches(".rs"));
    let Some(part) = source.path.split('/').find(|part| is_empty_name(part)) else {
        return Vec::new();
    };
    vec![Finding::error(
        source,
        1,
        "module names",
        format!("`{part}` says nothing: name it for what it gives"),
    )]
}

fn guests_time(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("guests/src/") || TIMER_OWNERS.contains(&source.path.as_str()) {
        return Vec::new();
    }
    let message = |word: &str| {
        format!(
            "`{word}`: timers that cannot be missed and waits that end are in {}",
            TIMER_OWNERS[0]
        )
    };
    let all = TIMER_WORDS.into_iter().flat_map(|word| {
        words(&source.code, word)
            .map(move |at| Finding::at(source, &source.code, at, "guests' time", message(word)))
    });
    all.collect()
}

/// Tests run side by side: what one changes in a static happens to another, on some days.
fn tests_state(source: &Source) -> Vec<Finding> {
    if !source.path.starts_with("crates/") {
        return Vec::new();
    }
    let before_tests = source.lines_before_tests();
    let message = "a static that tests share is only what they read, a LazyLock or a constant";
    words(&source.code, "static")
        .filter(|at| line_of(&source.code, *at) > before_tests)
        .filter(|at| !source.code[..*at].ends_with('\''))
        .filter(|at| {
            let declared = source.code[*at..].split('=').next().unwrap_or_default();
            words(declared, "LazyLock").next().is_none()
        })
        .map(|at| Finding::at(source, &source.code, at, "tests' state", message.to_owned()))
        .collect()
}

/// The functions marked `#[test]`, with their lines and names.
fn test_functions(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    source.code.match_indices("#[test]").filter_map(|(at, _)| {
        let after = &source.code[at..];
        let start = words(after, "fn").next()? + "fn".len();
        let name = after[start..].trim_start();
        let end = name.find(|c: char| !is_name(c)).unwrap_or(name.len());
        Some((line_of(&source.code, at + start), &name[..end]))
    })
}

/// Where `word` stands in `text` as a whole word.
fn words<'a>(text: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    text.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |at| {
            !text[..*at].ends_with(is_name) && !text[at + word.len()..].starts_with(is_name)
        })
}

fn is_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<(&'static str, usize, Severity)> {
        let source = Source::new(path, text);
        RULES
            .iter()
            .flat_map(|rule| rule(&source))
            .map(|f| (f.rule, f.line, f.severity))
            .collect()
    }

    #[test]
    fn a_clean_file_is_passed() {
        let text = "//! A crate.\n#![no_std]\n#![forbid(unsafe_code)]\n\n#[test]\nfn one_is_not_two() {}\n";
        assert_eq!(findings("crates/arm64/src/lib.rs", text), []);
    }

    #[test]
    fn unsafe_outside_its_folders_is_refused() {
        let text = "fn f() {\n    unsafe { g() }\n}\n#[unsafe(no_mangle)]\nfn h() {}\n";
        let both = [
            ("unsafe", 2, Severity::Error),
            ("unsafe", 4, Severity::Error),
        ];
        assert_eq!(findings("hv/src/vcpu.rs", text), both);
        assert_eq!(findings("hv/src/arch/cpu.rs", text), []);
        assert_eq!(findings("guests/src/cpu.rs", text), []);
    }

    #[test]
    fn loops_over_a_guests_words_are_refused() {
        let text = "// Hardware\nfn f() {\n    Hardware.compare_exchange(a, b, c)\n}\n";
        let found = [("guest words", 3, Severity::Error)];
        assert_eq!(findings("hv/src/memory/l1_memory.rs", text), found);
        assert_eq!(findings("hv/src/memory/contexts.rs", text), []);
        let clean = "fn f() {\n    guest_word::exchange(a, b, c)\n}\n";
        assert_eq!(findings("hv/src/memory/l1_memory.rs", clean), []);
    }

    #[test]
    fn unsafe_in_words_and_comments_is_no_code() {
        assert_eq!(
            findings(
                "hv/src/a.rs",
                "// unsafe\nlet is_unsafe = \"unsafe\"; // unsafe {\n"
            ),
            []
        );
    }

    #[test]
    fn long_files_are_listed_and_too_long_ones_refused() {
        let of = |lines: usize| findings("cli/src/a.rs", &"fn a() {}\n".repeat(lines));
        assert_eq!(of(400), []);
        assert_eq!(of(401), [("file length", 1, Severity::Warning)]);
        assert_eq!(of(601), [("file length", 1, Severity::Error)]);
        let tested = format!(
            "{}#[cfg(test)]\n{}",
            "fn a() {}\n".repeat(400),
            "// t\n".repeat(400)
        );
        assert_eq!(findings("cli/src/a.rs", &tested), []);
        let long = "fn a() {}\n".repeat(601);
        assert_eq!(findings("crates/vdev/src/gic/tests/delivery.rs", &long), []);
        assert_eq!(findings("cli/tests/boot.rs", &long), []);
    }

    #[test]
    fn a_library_without_its_attributes_is_refused() {
        let twice = [("crate attributes", 1, Severity::Error); 2];
        assert_eq!(findings("crates/stage2/src/lib.rs", "//! x\n"), twice);
        let hosted = "#![forbid(unsafe_code)]\n";
        assert_eq!(findings("crates/mmu-model/src/lib.rs", hosted), []);
        assert_eq!(findings("crates/stage2/src/lib.rs", hosted), twice[..1]);
    }

    #[test]
    fn open_work_is_refused() {
        let text = "// TODO: later\nfn f() {}\n/* FIXME */\n";
        let lines: Vec<usize> = findings("hv/src/a.rs", text)
            .into_iter()
            .map(|(_, line, _)| line)
            .collect();
        assert_eq!(lines, [1, 3]);
        assert_eq!(findings("hv/src/a.rs", "let todo = \"TODO\";\n"), []);
    }

    #[test]
    fn a_test_whose_name_is_no_sentence_is_refused() {
        let named = |name: &str| findings("hv/src/a.rs", &format!("#[test]\nfn {name}() {{}}\n"));
        assert_eq!(named("decode"), [("test names", 2, Severity::Error)]);
        assert_eq!(
            named("test_decode_of_esr"),
            [("test names", 2, Severity::Error)]
        );
        assert_eq!(named("a_store_decodes"), []);
    }

    #[test]
    fn ignored_tests_are_refused() {
        let text = "#[test]\n#[ignore = \"slow\"]\nfn a_slow_test_runs() {}\n";
        assert_eq!(
            findings("hv/src/a.rs", text),
            [("ignored tests", 2, Severity::Error)]
        );
    }

    #[test]
    fn timers_are_armed_in_one_place_of_the_guests() {
        let text = "use el2::set_cnthp_ctl;\nlet end = cpu::counter() + cpu::counter_frequency();\nconst SPIN: u32 = 0x14000000;\n";
        let all = [
            ("guests' time", 1, Severity::Error),
            ("guests' time", 2, Severity::Error),
            ("guests' time", 3, Severity::Error),
        ];
        assert_eq!(findings("guests/src/bin/fp.rs", text), all);
        for path in ["guests/src/time.rs", "guests/src/el2.rs", "hv/src/a.rs"] {
            assert_eq!(findings(path, text), []);
        }
        let text = "// 0x14000000\nlet set_cnthp_ctls = el2::cnthp_ctl();\n";
        assert_eq!(findings("guests/src/bin/fp.rs", text), []);
    }

    #[test]
    fn what_tests_change_is_their_own() {
        let text = "static VMIDS: VmidAllocator<1> = VmidAllocator::new();\n";
        let found = [("tests' state", 1, Severity::Error)];
        assert_eq!(findings("crates/nested/src/shadow/tests.rs", text), found);
        assert_eq!(findings("crates/nested/src/shadow.rs", text), []);
        let within = format!("fn a() {{}}\n#[cfg(test)]\nmod tests {{\n{text}}}\n");
        let found = [("tests' state", 4, Severity::Error)];
        assert_eq!(findings("crates/nested/src/shadow.rs", &within), found);
        let read =
            "static WAYS: LazyLock<Vec<u8>> = LazyLock::new(ways);\nfn f(a: &'static str) {}\n";
        assert_eq!(findings("crates/nested/tests/ways.rs", read), []);
    }

    #[test]
    fn modules_named_for_nothing_are_refused() {
        assert_eq!(
            findings("hv/src/util.rs", ""),
            [("module names", 1, Severity::Error)]
        );
        assert_eq!(
            findings("cli/src/common/mod.rs", ""),
            [("module names", 1, Severity::Error)]
        );
        assert_eq!(findings("cli/src/commands/base64.rs", ""), []);
    }
}
