//! Runs the tests in `shuttle`, for which the crate is built with shuttle's atomics in place of the processor's.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_mins(10);

#[test]
fn the_order_holds_in_every_interleaving_tried() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("shuttle");
    let mut child = Command::new(env!("CARGO"))
        .args(["test", "--package", "droste-locks", "--test", "shuttle"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", folder)
        .env("RUSTFLAGS", "--cfg droste_shuttle")
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("cargo starts");
    let start = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        if start.elapsed() > DEADLINE {
            child.kill().expect("it is ours");
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let output = child.wait_with_output().expect("it has ended");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("test result: ok. 9 passed"), "{text}");
}
