//! The devices of an emulated machine, each on a virtio-mmio transport.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

/// virtio-mmio transports that share a 4 KiB page of the machine's address space, and with it their owner.
pub const TRANSPORTS_PER_PAGE: u32 = 8;
/// The most devices of one virtual machine: one page of transports.
pub const TRANSPORTS_PER_VM: u32 = TRANSPORTS_PER_PAGE;
/// Virtual machines that can have devices: the machine has 32 transports.
pub const VMS_WITH_DEVICES_MAX: u32 = 32 / TRANSPORTS_PER_VM;

/// The address of transport 0 and the distance to the next, in bytes (QEMU's machine `virt`).
const TRANSPORT_BASE: u64 = 0x0a00_0000;
const TRANSPORT_STRIDE: u64 = 0x200;

/// How a disk's bytes are kept in its file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Format {
    /// As they are.
    #[default]
    Raw,
    /// As QEMU keeps them that are few, or that have snapshots.
    Qcow2,
}

impl Format {
    /// The format that a description or QEMU calls so.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "raw" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            _ => None,
        }
    }

    /// What it is called.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Whether a guest may write.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Access {
    /// It may.
    #[default]
    ReadWrite,
    /// It may not, so that several machines can have the same.
    ReadOnly,
}

/// A file that is a disk.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskImage {
    /// The file.
    pub file: PathBuf,
    /// How the bytes are kept in it.
    pub format: Format,
    /// Whether the guest may write.
    pub access: Access,
}

impl DiskImage {
    /// A disk whose sectors are this file's bytes.
    pub fn raw(file: impl Into<PathBuf>) -> Self {
        Self {
            file: file.into(),
            format: Format::Raw,
            access: Access::ReadWrite,
        }
    }

    /// The same, but nobody writes to it.
    pub fn read_only(file: impl Into<PathBuf>) -> Self {
        Self {
            access: Access::ReadOnly,
            ..Self::raw(file)
        }
    }
}

/// What a connection is of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Protocol {
    /// A stream.
    Tcp,
    /// Packets.
    Udp,
}

impl Protocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// A port of the host that leads to one of a guest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Forward {
    /// Of what.
    pub protocol: Protocol,
    /// The address at which the host listens.
    pub address: Ipv4Addr,
    /// The port there.
    pub host: u16,
    /// The guest's port.
    pub guest: u16,
}

impl Forward {
    /// Reads `[ADDRESS:]HOST:GUEST[/udp]`, as it is written for containers; without an address only this host itself
    /// reaches the port.
    ///
    /// ```
    /// use droste::qemu::Forward;
    /// let ssh = Forward::parse("2222:22").expect("two ports");
    /// assert_eq!(ssh.to_string(), "tcp:127.0.0.1:2222-:22");
    /// assert_eq!(Forward::parse("22"), None);
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return None,
        };
        let (rest, guest) = ports.rsplit_once(':')?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (address.parse().ok()?, host),
            None => (Ipv4Addr::LOCALHOST, rest),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
        Some(Self {
            protocol,
            address,
            host: port(host)?,
            guest: port(guest)?,
        })
    }
}

/// As QEMU reads it.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = self.protocol.as_str();
        write!(
            f,
            "{protocol}:{}:{}-:{}",
            self.address, self.host, self.guest
        )
    }
}

/// A place on a switch, which has room for 254.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Port {
    /// The switch's number among those of one machine, 0 to 252.
    pub switch: u8,
    /// The port's own, from 1.
    pub number: u8,
}

impl Port {
    /// The address that is meant for who is there, in a network of 24 bits. QEMU's own router has the one before these.
    ///
    /// ```
    /// use droste::qemu::Port;
    /// let port = Port { switch: 0, number: 7 };
    /// assert_eq!(port.address().to_string(), "10.0.3.7");
    /// assert_eq!(port.hardware_address(), "52:54:0a:00:03:07", "its last four bytes");
    /// ```
    pub fn address(self) -> Ipv4Addr {
        const FIRST: u8 = 3;
        Ipv4Addr::new(10, 0, FIRST.saturating_add(self.switch), self.number)
    }

    /// The adapter's hardware address, which ends with that address: so a guest knows it.
    pub fn hardware_address(self) -> String {
        let [a, b, c, d] = self.address().octets();
        format!("52:54:{a:02x}:{b:02x}:{c:02x}:{d:02x}")
    }
}

/// What a network adapter is plugged into.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Network {
    /// QEMU's own router, with ports of the host that lead to the guest's.
    User(Vec<Forward>),
    /// A switch of the machine's own, which leads to nothing but the others there.
    Switch(Port),
}

/// What is behind a transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum DeviceKind {
    /// A disk.
    Disk(DiskImage),
    /// A network adapter.
    Net(Network),
}

/// A device on a virtio-mmio transport.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// The transport's number, 0 to 31.
    pub transport: u32,
}

impl Device {
    /// The path of its transport's node in the machine's device tree.
    ///
    /// ```
    /// use droste::qemu::{Device, DeviceKind, Network};
    /// let kind = DeviceKind::Net(Network::User(Vec::new()));
    /// assert_eq!(Device { kind, transport: 9 }.node_path(), "/virtio_mmio@a001200");
    /// ```
    pub fn node_path(&self) -> String {
        format!(
            "/virtio_mmio@{:x}",
            TRANSPORT_BASE + u64::from(self.transport) * TRANSPORT_STRIDE
        )
    }

    pub(super) fn arguments(&self) -> [OsString; 4] {
        let kind = match &self.kind {
            DeviceKind::Disk(_) => "disk",
            DeviceKind::Net(_) => "net",
        };
        let id = format!("{kind}{}", self.transport);
        let bus = format!("bus=virtio-mmio-bus.{}", self.transport);
        match &self.kind {
            DeviceKind::Disk(disk) => {
                let format = disk.format.as_str();
                let access = match disk.access {
                    Access::ReadWrite => "",
                    Access::ReadOnly => "readonly=on,",
                };
                let options = format!("if=none,format={format},{access}id={id},file=");
                [
                    "-drive".into(),
                    joined(&options, &escaped(&disk.file)),
                    "-device".into(),
                    format!("virtio-blk-device,drive={id},{bus}").into(),
                ]
            }
            DeviceKind::Net(network) => {
                let (netdev, mac) = match network {
                    Network::User(forwards) => {
                        let forwards = forwards.iter().map(|forward| format!(",hostfwd={forward}"));
                        let forwards: String = forwards.collect();
                        (format!("user,id={id}{forwards}"), String::new())
                    }
                    Network::Switch(port) => (
                        format!("hubport,id={id},hubid={}", port.switch),
                        format!("mac={},", port.hardware_address()),
                    ),
                };
                [
                    "-netdev".into(),
                    netdev.into(),
                    "-device".into(),
                    format!("virtio-net-device,netdev={id},{mac}{bus}").into(),
                ]
            }
        }
    }
}

/// A file's name in a list of options, where a comma ends a value and two stand for one.
fn escaped(file: &Path) -> OsString {
    match file.to_str() {
        Some(name) => name.replace(',', ",,").into(),
        None => file.as_os_str().to_owned(),
    }
}

fn joined(prefix: &str, rest: &OsStr) -> OsString {
    let mut word = OsString::from(prefix);
    word.push(rest);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transports_have_the_names_that_the_machine_gives_them() {
        let path = |transport| {
            Device {
                kind: DeviceKind::Net(Network::User(Vec::new())),
                transport,
            }
            .node_path()
        };
        assert_eq!(path(0), "/virtio_mmio@a000000");
        assert_eq!(path(31), "/virtio_mmio@a003e00");
    }

    #[test]
    fn qemu_is_told_format_access_and_ports() {
        let words = |kind| {
            let device = Device { kind, transport: 3 };
            let words = device
                .arguments()
                .map(|word| word.to_string_lossy().into_owned());
            words[1].clone()
        };
        let disk = DiskImage {
            format: Format::Qcow2,
            ..DiskImage::read_only("a.qcow2")
        };
        assert_eq!(
            words(DeviceKind::Disk(disk)),
            "if=none,format=qcow2,readonly=on,id=disk3,file=a.qcow2"
        );
        let forwards =
            ["2222:22", "0.0.0.0:53:5353/udp"].map(|text| Forward::parse(text).expect("sound"));
        assert_eq!(
            words(DeviceKind::Net(Network::User(forwards.into()))),
            "user,id=net3,hostfwd=tcp:127.0.0.1:2222-:22,hostfwd=udp:0.0.0.0:53-:5353"
        );
        let port = Port {
            switch: 2,
            number: 1,
        };
        assert_eq!(
            words(DeviceKind::Net(Network::Switch(port))),
            "hubport,id=net3,hubid=2"
        );
    }

    #[test]
    fn what_is_no_pair_of_ports_is_none() {
        for wrong in [
            "", "22", ":22", "22:", "0:22", "22:0", "65536:22", "a:22", "host:1:2", "1:2:3:4",
            "1:2/sctp", "1:2,x=y",
        ] {
            assert_eq!(Forward::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Forward::parse("1:2/tcp"), Forward::parse("127.0.0.1:1:2"));
    }
}
