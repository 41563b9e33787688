//! Somebody sits at the guest's shell.

use crate::stage::{Stage, must_say};

#[test]
fn a_shell_answers_and_the_report_comes_on_demand() {
    let stage = Stage::with_linux(2);
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell_says("echo hello-$((6*7))", "hello-42");
    terminal.shell_says("cat /proc/interrupts", "arch_timer");
    // Far more than the UART's FIFO holds, and the guest reads it while it computes.
    let long = "0123456789".repeat(20);
    terminal.shell_says(&format!("echo {long} | tr -d 1-9 | wc -c"), "21");
    // Ctrl-C is the guest's, for the program that has its terminal: this one has it once it speaks.
    terminal.shell_says("sh -c 'echo asleep-$((1+2)); exec sleep 1000'", "asleep-3");
    terminal.keys("\x03");
    terminal.shell_says("echo awake-$((2+2))", "awake-4");
    for key in ["?", "h"] {
        terminal.escape(key);
        terminal.wait_for("droste: Ctrl-] s: report; Ctrl-] n: the keyboard goes to the next");
        terminal.wait_for("droste: what else is typed goes to linux");
    }
    terminal.escape("s");
    terminal.wait_for("linux: running");
    terminal.wait_for("EL2 memory: ");
    let output = terminal.power_off();
    must_say(&output, &["linux: powered off"]);
}

#[test]
fn the_keyboard_goes_to_the_next_virtual_machine() {
    let mut stage = Stage::with_linux(1);
    stage.linux("other", 1, "");
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell_says("hostname the-$((1+0))st; hostname", "the-1st");
    // Its first prompt is an unfinished line, which is shown when it gets the keyboard, or comes later.
    terminal.switch_to("other");
    terminal.shell_says("echo $(hostname)-$((1+1))nd", "other-2nd");
    terminal.shell("poweroff");
    terminal.wait_for("reboot: Power down");
    terminal.wait_for("droste: other: powered off");
    terminal.goes_on_to("linux");
    terminal.power_off();
}

#[test]
fn input_that_is_lost_is_told() {
    // Each key empties the line that is typed, which a shell may do as often as it likes.
    const CLEAR: &str = "\x15";
    let stage = Stage::with_linux(1);
    let mut terminal = stage.run_on(1).on_terminal();
    terminal.wait_for("droste: Droste ");
    // Linux reads nothing before its driver is there.
    terminal.keys(&CLEAR.repeat(6000));
    terminal.wait_for(
        "droste: warning: linux does not read its input: of what is typed ahead, more than 2048 bytes are lost",
    );
    terminal.shell_says("echo back-$((3*3))", "back-9");
    terminal.power_off();
}

#[test]
fn the_shell_knows_its_terminals_size_and_asks_for_it_anew() {
    let stage = Stage::with_linux(1);
    let mut terminal = stage.run_on(1).on_terminal();
    terminal.wait_for("droste: Ctrl-A x ends QEMU; Ctrl-] ? tells Droste's keys");
    terminal.shell_says(
        "echo size $(stty size) of $(hostname)",
        "size 31 101 of linux",
    );
    terminal.shell("resize; echo size $(stty size)");
    terminal.wait_for("\x1b[999;999H\x1b[6n");
    terminal.keys("\x1b[43;117R");
    terminal.wait_for("size 43 117");
    // One that does not answer.
    terminal.shell_says(
        "resize",
        "resize: the terminal does not say how large it is",
    );
    terminal.shell_says("echo size $(stty size)", "size 43 117");
    terminal.power_off();
}

#[test]
fn a_guest_that_reboots_starts_anew() {
    let stage = Stage::with_linux(2);
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.shell_says("echo first >/tmp/boot; cat /tmp/b*", "first\r\n");
    terminal.reboot();
    terminal.wait_for("on 2 CPUs. 'poweroff' switches");
    terminal.shell_says("ls /tmp/boot", "No such file");
    let output = terminal.power_off();
    must_say(&output, &["linux: powered off"]);
}

#[test]
fn a_reboot_that_was_forbidden_fails_the_run() {
    let stage = Stage::with_linux(1);
    let mut terminal = stage.run_on(1).with(&["--no-reboot"]).on_terminal();
    terminal.shell("reboot");
    must_say(
        &terminal.fails(),
        &["error: the run failed: virtual machine linux: reset (stopped at a reset)"],
    );
}
