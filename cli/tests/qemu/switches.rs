//! Virtual machines that talk to each other over a switch.

use crate::stage::{Stage, must_say};

const LAN: &str = "net = { switch = \"lan\" }";

#[test]
fn two_virtual_machines_talk_over_a_switch_by_their_names() {
    let mut stage = Stage::new();
    stage.linux("here", 1, LAN);
    stage.linux("there", 1, &format!("{LAN}\ndisk = \"disk\""));
    stage.put("disk", &vec![0; 1 << 20]);
    let mut terminal = stage.run_on(2).on_terminal();
    terminal.wait_for("[there] Linux ");
    terminal.shell_says("ip addr show eth0", "inet 10.0.3.1/24");
    terminal.shell_says("ping -c 3 there", "3 packets received");
    // Nothing leads out.
    terminal.shell_says("ip route | wc -l", "1\r\n");
    terminal.switch_to("there");
    terminal.shell_says("ping -c 3 here", "3 packets received");
    terminal.shell("poweroff");
    terminal.wait_for("droste: there: powered off");
    terminal.goes_on_to("here");
    terminal.power_off();
}

#[test]
fn an_adapter_beside_that_on_a_switch_leads_out() {
    let mut stage = Stage::new();
    stage.linux(
        "router",
        1,
        "net = [{ switch = \"lan\" }, \"user\", { switch = \"dmz\" }]",
    );
    stage.linux("inside", 1, LAN);
    let ended = stage.run_on(2).succeeds(&[]);
    assert!(ended.all_off(&["router", "inside"]), "{}", ended.record);
    for says in [
        "guest: network: eth0, 10.0.3.1 on a switch",
        "guest: network: eth1, 10.0.2.2 answers",
        "guest: network: eth2, 10.0.4.1 on a switch",
        "[inside] guest: network: eth0, 10.0.3.2 on a switch",
    ] {
        must_say(&ended.output, &[says]);
    }
}
