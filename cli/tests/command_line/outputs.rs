//! Every option that writes, with every target that is wrong, or looks so: each does what is right, and nothing is
//! destroyed. Devices are the test's own.

use std::fs::{self, File, Permissions};
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::Instant;

use rustix::fs::{FileType, Mode, makedev, mknodat};

use crate::judged::trace;
use crate::stage::{LIMIT, Stage, ended, good, stderr};

/// An option that writes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Writer {
    /// `image -o`
    Image,
    /// `run --json`
    Json,
    /// `judge --json`
    Judge,
    /// `judge --sarif`
    Sarif,
    /// `judge --html`
    Html,
}

const WRITERS: [Writer; 5] = [
    Writer::Image,
    Writer::Json,
    Writer::Judge,
    Writer::Sarif,
    Writer::Html,
];

impl Writer {
    fn command(self, stage: &Stage, target: &str) -> Command {
        match self {
            Self::Image => stage.command(&["image", "vm.toml", "-o", target]),
            Self::Json => stage.run_on("hypervisor", &["--json", target]),
            Self::Judge => stage.command(&["judge", "trace", "--json", target]),
            Self::Sarif => stage.command(&["judge", "trace", "--sarif", target]),
            Self::Html => stage.command(&["judge", "trace", "--html", target]),
        }
    }

    /// The exit code when it cannot write.
    const fn failure(self) -> i32 {
        match self {
            Self::Image | Self::Json => 1,
            Self::Judge | Self::Sarif | Self::Html => 2,
        }
    }

    /// Whether these bytes are what it writes.
    fn wrote(self, bytes: &[u8]) -> bool {
        match self {
            Self::Image => droste_image::verify(bytes).is_ok(),
            Self::Json => serde_json::from_slice::<serde_json::Value>(bytes)
                .is_ok_and(|record| record["outcome"] == "ok"),
            Self::Judge => serde_json::from_slice::<serde_json::Value>(bytes)
                .is_ok_and(|report| report["entries"] == 2),
            Self::Sarif => serde_json::from_slice::<serde_json::Value>(bytes)
                .is_ok_and(|log| log["version"] == "2.1.0"),
            Self::Html => bytes.starts_with(b"<!DOCTYPE html>") && bytes.ends_with(b"</html>\n"),
        }
    }
}

/// A virtual machine with a file of each kind, and a QEMU that leaves the file `started`.
fn stage() -> Stage {
    let stage = Stage::new(&format!("touch started; {}", good()));
    fs::copy(stage.path("Image"), stage.path("hypervisor")).expect("copied");
    stage.put("initrd", &[7; 600]);
    stage.put("disk", &[0; 1024]);
    stage.put("trace", &trace(true, true));
    stage.put(
        "vm.toml",
        b"name = \"vm\"\nkernel = \"Image\"\ninitrd = \"initrd\"\ndisk = \"disk\"\n",
    );
    stage
}

/// It must fail, say this, and not have started QEMU.
fn refused(writer: Writer, stage: &Stage, target: &str, why: &str) {
    let output = ended(writer.command(stage, target));
    let said = stderr(&output);
    let code = output.status.code();
    assert_eq!(code, Some(writer.failure()), "{writer:?} {target}: {said}");
    let start = format!("error: cannot write {target}: ");
    assert!(
        said.starts_with(&start) && said.contains(why) && said.contains("\n  help: "),
        "{writer:?} {target}: {said}"
    );
    assert!(
        !stage.path("started").exists(),
        "{writer:?} {target}: {said}"
    );
}

fn succeeds(writer: Writer, stage: &Stage, target: &str) {
    let output = ended(writer.command(stage, target));
    assert!(
        output.status.success(),
        "{writer:?} {target}: {}",
        stderr(&output)
    );
}

/// A character device of the test's own, with the numbers of `null` or `full`; none where nobody may make one.
pub(crate) fn device(stage: &Stage, minor: u32) -> Option<&'static str> {
    let mode = Mode::from_raw_mode(0o666);
    let kind = FileType::CharacterDevice;
    mknodat(
        rustix::fs::CWD,
        stage.path("device"),
        kind,
        mode,
        makedev(1, minor),
    )
    .ok()?;
    Some("device")
}

fn is_device(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_char_device())
}

fn pipe(stage: &Stage) {
    let made = Command::new("mkfifo").arg(stage.path("pipe")).status();
    assert!(made.expect("started").success());
}

fn names(stage: &Stage) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(stage.path("."))
        .expect("listed")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .filter(|name| name != "cache" && name != "started")
        .collect();
    names.sort();
    names
}

#[test]
fn a_device_is_written_into_and_stays_one() {
    for writer in WRITERS {
        let stage = stage();
        let Some(null) = device(&stage, 3) else {
            return;
        };
        succeeds(writer, &stage, null);
        assert!(is_device(&stage.path(null)), "{writer:?}");
    }
}

#[test]
fn a_device_that_is_full_is_an_error_and_stays_one() {
    for writer in WRITERS {
        let stage = stage();
        let Some(full) = device(&stage, 7) else {
            return;
        };
        let output = ended(writer.command(&stage, full));
        let said = stderr(&output);
        let code = output.status.code();
        assert_eq!(code, Some(writer.failure()), "{writer:?}: {said}");
        assert!(
            said.contains("error: cannot write device: No space left on device")
                && said.contains("help: make room there"),
            "{writer:?}: {said}"
        );
        assert!(is_device(&stage.path(full)), "{writer:?}");
    }
}

#[test]
fn a_pipe_without_a_reader_is_refused_and_one_with_a_reader_is_written_into() {
    for writer in WRITERS {
        let stage = stage();
        pipe(&stage);
        refused(writer, &stage, "pipe", "nobody reads this pipe");
        let path = stage.path("pipe");
        let reader = thread::spawn(move || {
            let mut bytes = Vec::new();
            File::open(path)
                .and_then(|mut file| file.read_to_end(&mut bytes))
                .map(|_| bytes)
        });
        // The reader may not be there yet.
        let start = Instant::now();
        while !ended(writer.command(&stage, "pipe")).status.success() {
            assert!(
                start.elapsed() < LIMIT,
                "{writer:?}: nothing reaches the reader"
            );
        }
        let bytes = reader.join().expect("joined").expect("read");
        assert!(writer.wrote(&bytes), "{writer:?}");
        let kind = fs::symlink_metadata(stage.path("pipe"))
            .expect("there")
            .file_type();
        assert!(kind.is_fifo(), "{writer:?}");
    }
}

#[test]
fn an_input_is_refused_by_whatever_name() {
    for writer in WRITERS {
        let stage = stage();
        fs::hard_link(stage.path("Image"), stage.path("hard")).expect("linked");
        symlink("disk", stage.path("soft")).expect("linked");
        let mut targets = vec!["vm.toml", "./Image", "initrd", "disk", "hard", "soft"];
        match writer {
            Writer::Image => {}
            Writer::Json => targets.extend(["hypervisor", "qemu"]),
            Writer::Judge | Writer::Sarif | Writer::Html => targets = vec!["trace", "./trace"],
        }
        for target in targets {
            let before = fs::read(stage.path(target)).expect("read");
            refused(writer, &stage, target, "it is read as well");
            assert_eq!(
                fs::read(stage.path(target)).expect("read"),
                before,
                "{target}"
            );
        }
    }
}

#[test]
fn an_input_that_the_command_line_names_is_refused() {
    for writer in WRITERS {
        let stage = stage();
        fs::copy(stage.path("Image"), stage.path("other")).expect("copied");
        let mut command = writer.command(&stage, "other");
        let option = match writer {
            Writer::Image | Writer::Json => "--kernel",
            Writer::Judge | Writer::Sarif | Writer::Html => "--ignore",
        };
        command.args([option, "other"]);
        let said = stderr(&ended(command));
        assert!(
            said.contains("cannot write other: it is read as well"),
            "{said}"
        );
    }
}

#[test]
fn a_file_that_the_judged_qemu_is_given_is_refused() {
    for option in ["--trace", "--json", "--sarif", "--html"] {
        for words in [
            ["-kernel", "victim"],
            ["-drive", "if=none,file=victim,format=raw"],
            ["-serial", "file:victim"],
        ] {
            let stage = stage();
            stage.put("victim", b"old");
            let all = [
                &["judge", option, "victim", "--", "./qemu", "-M", "virt"],
                &words[..],
            ];
            let output = ended(stage.command(&all.concat()));
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
            let start = "error: cannot write victim: it is read as well, as victim\n  help: ";
            assert!(said.starts_with(start), "{words:?}: {said}");
            assert_eq!(fs::read(stage.path("victim")).expect("read"), b"old");
            assert!(!stage.path("started").exists(), "{words:?}");
        }
    }
}

#[test]
fn a_file_is_replaced_whole_and_keeps_its_mode() {
    for writer in WRITERS {
        let stage = stage();
        stage.put("file", b"old");
        fs::set_permissions(stage.path("file"), Permissions::from_mode(0o640)).expect("set");
        let before = names(&stage);
        succeeds(writer, &stage, "file");
        assert!(writer.wrote(&fs::read(stage.path("file")).expect("read")));
        let mode = fs::metadata(stage.path("file")).expect("there").mode();
        assert_eq!(mode & 0o7777, 0o640, "{writer:?}");
        assert_eq!(names(&stage), before, "{writer:?}");
    }
}

#[test]
fn a_new_file_has_the_mode_that_new_files_have() {
    for writer in WRITERS {
        let stage = stage();
        stage.put("like", b"");
        succeeds(writer, &stage, "file");
        let mode = |name| fs::metadata(stage.path(name)).expect("there").mode();
        assert_eq!(mode("file"), mode("like"), "{writer:?}");
    }
}

#[test]
fn a_symbolic_link_stays_one_and_leads_to_what_was_written() {
    for writer in WRITERS {
        let stage = stage();
        fs::create_dir(stage.path("sub")).expect("made");
        stage.put("sub/file", b"old");
        symlink("sub/file", stage.path("link")).expect("linked");
        symlink("sub/new", stage.path("dangling")).expect("linked");
        symlink("circle", stage.path("circle")).expect("linked");
        for (link, file) in [("link", "sub/file"), ("dangling", "sub/new")] {
            succeeds(writer, &stage, link);
            let kind = fs::symlink_metadata(stage.path(link))
                .expect("there")
                .file_type();
            assert!(kind.is_symlink(), "{writer:?} {link}");
            assert!(
                writer.wrote(&fs::read(stage.path(file)).expect("read")),
                "{writer:?} {link}"
            );
        }
        fs::remove_file(stage.path("started")).unwrap_or_default();
        refused(writer, &stage, "circle", "");
    }
}

#[test]
fn a_file_that_nobody_may_write_is_refused_and_stays_as_it_is() {
    for writer in WRITERS {
        let stage = stage();
        stage.put("file", b"old");
        fs::set_permissions(stage.path("file"), Permissions::from_mode(0o444)).expect("set");
        refused(writer, &stage, "file", "read-only");
        assert_eq!(fs::read(stage.path("file")).expect("read"), b"old");
    }
}

#[test]
fn what_is_no_place_for_a_file_is_refused() {
    for writer in WRITERS {
        let stage = stage();
        fs::create_dir(stage.path("folder")).expect("made");
        let before = names(&stage);
        refused(writer, &stage, "missing/file", "there is no folder missing");
        refused(writer, &stage, "folder", "it is a directory");
        refused(writer, &stage, "missing/", "it is no name of a file");
        refused(writer, &stage, "vm.toml/file", "");
        assert_eq!(names(&stage), before, "{writer:?}");
    }
}

#[test]
fn a_dash_is_stdout() {
    for writer in WRITERS {
        let stage = stage();
        let output = ended(writer.command(&stage, "-"));
        assert!(output.status.success(), "{writer:?}: {}", stderr(&output));
        assert!(writer.wrote(&output.stdout), "{writer:?}");
        assert!(!stage.path("-").exists(), "{writer:?}");
    }
}

#[test]
fn stdout_that_nobody_reads_or_that_is_full_is_an_error() {
    let stage = stage();
    let full = device(&stage, 7);
    let full = || {
        full.map(|name| {
            File::options()
                .write(true)
                .open(stage.path(name))
                .expect("opened")
        })
    };
    let checks = stage.command(&["check", "vm.toml"]);
    let helps = stage.command(&["--help"]);
    let commands = WRITERS
        .iter()
        .map(|writer| (writer.command(&stage, "-"), writer.failure()))
        .chain([(checks, 1), (helps, 1)]);
    for (mut command, failure) in commands {
        let (reader, closed) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut outputs = vec![Stdio::from(closed)];
        outputs.extend(full().map(Stdio::from));
        for stdout in outputs {
            let output = command
                .stdout(stdout)
                .stderr(Stdio::piped())
                .spawn()
                .and_then(std::process::Child::wait_with_output)
                .expect("ended");
            let said = stderr(&output);
            let code = output.status.code();
            assert_eq!(code, Some(failure), "{command:?}: {said}");
            let mut lines = said.lines();
            assert!(
                lines.any(|line| line.starts_with("error: cannot write ")),
                "{command:?}: {said}"
            );
        }
    }
}

/// Runs with logs.
fn logged(stage: &Stage) -> Output {
    ended(stage.run_on("hypervisor", &["--log", "logs"]))
}

#[test]
fn what_a_machine_says_goes_to_its_file_and_the_console() {
    let said = "echo 'droste: hello'; echo from the guest";
    let stage = Stage::new(&format!("{said}; {}", good()));
    fs::copy(stage.path("Image"), stage.path("hypervisor")).expect("copied");
    for _ in 0..2 {
        let output = logged(&stage);
        assert!(output.status.success(), "{}", stderr(&output));
        assert_eq!(output.stdout, b"droste: hello\nfrom the guest\n");
        let read = |name: &str| fs::read_to_string(stage.path("logs").join(name)).expect("read");
        assert_eq!(read("vm.log"), "from the guest\n");
        assert_eq!(read("_droste.log"), "hello\n");
    }
}

#[test]
fn a_log_that_is_an_input_or_cannot_be_written_is_refused() {
    type Make = fn(&Stage, &Path);
    let makes: [(Make, &str); 6] = [
        (
            |stage, log| fs::hard_link(stage.path("disk"), log).expect("linked"),
            "it is read as well",
        ),
        (
            |_, log| symlink("../vm.toml", log).expect("linked"),
            "it is read as well",
        ),
        (
            |_, log| fs::create_dir(log).expect("made"),
            "it is a directory",
        ),
        (
            |_, log| {
                fs::write(log, b"old").expect("written");
                fs::set_permissions(log, Permissions::from_mode(0o444)).expect("set");
            },
            "it is read-only",
        ),
        (
            |stage, log| {
                pipe(stage);
                fs::rename(stage.path("pipe"), log).expect("moved");
            },
            "nobody reads this pipe",
        ),
        (
            |_, log| symlink("../record.json", log).expect("linked"),
            "is written as well",
        ),
    ];
    for (make, why) in makes {
        let stage = stage();
        fs::create_dir(stage.path("logs")).expect("made");
        make(&stage, &stage.path("logs/vm.log"));
        let mut command = Writer::Json.command(&stage, "record.json");
        command.args(["--log", "logs"]);
        let output = ended(command);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(
            said.contains("error: cannot write ") && said.contains(why),
            "{said}"
        );
        assert!(!stage.path("started").exists(), "{why}");
        assert_eq!(fs::read(stage.path("disk")).expect("read"), [0; 1024]);
    }
}

#[test]
fn a_log_goes_into_a_device_and_a_full_one_fails_the_run() {
    for (minor, is_full) in [(3, false), (7, true)] {
        let stage = stage();
        let Some(name) = device(&stage, minor) else {
            return;
        };
        fs::create_dir(stage.path("logs")).expect("made");
        symlink(format!("../{name}"), stage.path("logs/_droste.log")).expect("linked");
        let qemu = fs::read_to_string(stage.path("qemu.sh")).expect("read");
        stage.put_program("qemu", &format!("{qemu}\necho 'droste: hello'\n"));
        let output = logged(&stage);
        let said = stderr(&output);
        assert_eq!(output.status.success(), !is_full, "{said}");
        assert_eq!(
            said.contains("error: cannot write logs/_droste.log"),
            is_full,
            "{said}"
        );
        assert!(is_device(&stage.path(name)));
    }
}

#[test]
fn a_directory_for_logs_is_made_in_one_that_is_there() {
    let stage = stage();
    for target in ["missing/logs", "disk", "device"] {
        device(&stage, 3);
        let said = stderr(&ended(stage.run_on("hypervisor", &["--log", target])));
        let start = format!("error: cannot make the directory {target}: ");
        assert!(
            said.starts_with(&start) && said.contains("help: "),
            "{said}"
        );
        assert!(!stage.path("started").exists());
    }
}
