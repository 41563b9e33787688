//! The names of members, nodes and properties, shared by reader and writer.

/// The version of the device tree's nodes and properties; a reader takes its own version only.
pub(crate) const FORMAT: u32 = 1;

/// The member that describes the virtual machines.
pub(crate) const MEMBER_TREE: &str = "droste.dtb";
/// The member with the checksum of that one, as eight hexadecimal digits.
#[cfg(feature = "write")]
pub(crate) const MEMBER_SUM: &str = "droste.crc32";

pub(crate) const PROP_FORMAT: &str = "droste,format";
pub(crate) const NODE_VMS: &str = "vms";

pub(crate) const PROP_KERNEL: &str = "droste,kernel";
pub(crate) const PROP_INITRD: &str = "droste,initrd";
pub(crate) const PROP_VCPUS: &str = "droste,vcpus";
pub(crate) const PROP_MEMORY: &str = "droste,memory";
pub(crate) const PROP_BOOTARGS: &str = "droste,bootargs";
pub(crate) const PROP_CONSOLE: &str = "droste,console";
pub(crate) const PROP_ON_REBOOT: &str = "droste,on-reboot";
pub(crate) const PROP_EL2: &str = "droste,el2";
pub(crate) const PROP_PASSTHROUGH: &str = "droste,passthrough";
pub(crate) const PROP_DOM0_KERNEL: &str = "droste,dom0-kernel";
pub(crate) const PROP_DOM0_INITRD: &str = "droste,dom0-initrd";
pub(crate) const PROP_DOM0_BOOTARGS: &str = "droste,dom0-bootargs";

/// The properties that name members, each with that of the member's checksum.
#[cfg(feature = "write")]
pub(crate) const BLOBS: [(&str, &str); 4] = [
    (PROP_KERNEL, "droste,kernel-crc32"),
    (PROP_INITRD, "droste,initrd-crc32"),
    (PROP_DOM0_KERNEL, "droste,dom0-kernel-crc32"),
    (PROP_DOM0_INITRD, "droste,dom0-initrd-crc32"),
];
