//! Switches between the virtual machines of one run, and who is where on them.

use crate::description::{Description, Net};
use crate::qemu::{Network, Port};

/// What the network adapters of virtual machines are plugged into.
pub(super) struct Wiring<'a> {
    /// The switches, by the numbers of their ports.
    switches: Vec<&'a str>,
    /// The ports that are taken, and by whom.
    ports: Vec<(Port, &'a str)>,
    /// By virtual machine: its adapters.
    networks: Vec<Vec<Network>>,
}

impl<'a> Wiring<'a> {
    /// Gives switches and ports numbers, in the order in which the descriptions name them.
    pub(super) fn of(vms: impl IntoIterator<Item = &'a Description>) -> Self {
        let mut wiring = Self {
            switches: Vec::new(),
            ports: Vec::new(),
            networks: Vec::new(),
        };
        for vm in vms {
            let nets = vm.nets.iter().map(|net| match &net.value {
                Net::User(forwards) => Network::User(forwards.clone()),
                Net::Switch(switch) => Network::Switch(wiring.plug(switch, &vm.name.value)),
            });
            let nets = nets.collect();
            wiring.networks.push(nets);
        }
        wiring
    }

    /// By virtual machine, in the order of the descriptions: its adapters.
    pub(super) fn networks(&self) -> &[Vec<Network>] {
        &self.networks
    }

    /// What is told to the guest of `vm`: the addresses and names of the others on its switches.
    pub(super) fn hosts(&self, vm: &Description) -> Option<String> {
        let own = vm.name.value.as_str();
        let is_here = |switch| {
            let mut ports = self.ports.iter();
            !vm.nets.is_empty() && ports.any(|(port, who)| port.switch == switch && *who == own)
        };
        let others = self
            .ports
            .iter()
            .filter(|(port, who)| *who != own && is_here(port.switch));
        let hosts: Vec<String> = others
            .map(|(port, who)| format!("{}/{who}", port.address()))
            .collect();
        (!hosts.is_empty()).then(|| format!("droste.hosts={}", hosts.join(",")))
    }

    /// What is to be said of switches that lead nowhere.
    pub(super) fn warnings(&self) -> Vec<String> {
        let switches = (0..).zip(&self.switches);
        let lonely = switches.filter_map(|(number, switch)| {
            let mut there = self.ports.iter().filter(|(port, _)| port.switch == number);
            let (_, first) = there.next()?;
            there.all(|(_, other)| other == first).then(|| {
                format!(
                    "{first} is alone on the switch {switch}: a switch connects those of the same run that name it"
                )
            })
        });
        lonely.collect()
    }

    fn plug(&mut self, switch: &'a str, vm: &'a str) -> Port {
        let known = self.switches.iter().position(|known| *known == switch);
        let position = known.unwrap_or_else(|| {
            self.switches.push(switch);
            self.switches.len() - 1
        });
        // There are fewer transports than numbers; descriptions that want more are refused.
        let number = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let switch = number(position);
        let taken = self.ports.iter().filter(|(port, _)| port.switch == switch);
        let port = Port {
            switch,
            number: number(taken.count() + 1),
        };
        self.ports.push((port, vm));
        port
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::description::{Overrides, load};

    fn described(nets: &[(&str, &str)]) -> Vec<Description> {
        let dir = tempfile::tempdir().expect("a directory");
        let files = nets.iter().map(|(name, net)| {
            let file = dir.path().join(name);
            let text = format!("name = \"{name}\"\nkernel = \"Image\"\nnet = {net}\n");
            std::fs::write(&file, text).expect("written");
            file
        });
        let files: Vec<_> = files.collect();
        let (vms, found) = load(&files, &Overrides::default());
        assert_eq!(found, []);
        vms
    }

    fn switch(switch: u8, number: u8) -> Network {
        Network::Switch(Port { switch, number })
    }

    #[test]
    fn who_names_the_same_switch_is_told_of_each_other() {
        let vms = described(&[
            ("a", "{ switch = \"lan\" }"),
            (
                "b",
                "[\"user\", { switch = \"lan\" }, { switch = \"dmz\" }]",
            ),
            ("c", "{ switch = \"dmz\" }"),
            ("d", "\"user\""),
        ]);
        let wiring = Wiring::of(&vms);
        let user = || Network::User(Vec::new());
        assert_eq!(
            wiring.networks(),
            [
                vec![switch(0, 1)],
                vec![user(), switch(0, 2), switch(1, 1)],
                vec![switch(1, 2)],
                vec![user()]
            ]
        );
        let hosts: Vec<_> = vms.iter().map(|vm| wiring.hosts(vm)).collect();
        assert_eq!(
            hosts,
            [
                Some("droste.hosts=10.0.3.2/b".into()),
                Some("droste.hosts=10.0.3.1/a,10.0.4.2/c".into()),
                Some("droste.hosts=10.0.4.1/b".into()),
                None
            ]
        );
        assert_eq!(wiring.warnings(), [] as [String; 0]);
    }

    #[test]
    fn a_switch_with_one_machine_leads_nowhere() {
        let vms = described(&[
            ("a", "[{ switch = \"lan\" }, { switch = \"lan\" }]"),
            ("b", "{ switch = \"lam\" }"),
        ]);
        let wiring = Wiring::of(&vms);
        assert_eq!(wiring.networks()[0], [switch(0, 1), switch(0, 2)]);
        let [a, b] = <[String; 2]>::try_from(wiring.warnings()).expect("two");
        assert!(a.starts_with("a is alone on the switch lan:"), "{a}");
        assert!(b.starts_with("b is alone on the switch lam:"), "{b}");
        assert_eq!(wiring.hosts(&vms[0]), None);
    }
}
