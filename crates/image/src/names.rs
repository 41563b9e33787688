//! The names of nodes and properties, shared by reader and writer.
//!
//! Those of the flattened image tree follow the *Flat Image Tree Specification*; those with a `droste,` prefix are ours.

/// The version of our own properties; a reader takes its own version only.
pub(crate) const FORMAT: u32 = 1;

pub(crate) const PROP_FORMAT: &str = "droste,format";
pub(crate) const NODE_IMAGES: &str = "images";
pub(crate) const NODE_CONFIGURATIONS: &str = "configurations";

pub(crate) const PROP_DATA_POSITION: &str = "data-position";
pub(crate) const PROP_DATA_SIZE: &str = "data-size";
pub(crate) const PROP_KERNEL: &str = "kernel";
pub(crate) const PROP_RAMDISK: &str = "ramdisk";

pub(crate) const PROP_VCPUS: &str = "droste,vcpus";
pub(crate) const PROP_MEMORY: &str = "droste,memory";
pub(crate) const PROP_BOOTARGS: &str = "droste,bootargs";
pub(crate) const PROP_CONSOLE: &str = "droste,console";
pub(crate) const PROP_ON_REBOOT: &str = "droste,on-reboot";
pub(crate) const PROP_PASSTHROUGH: &str = "droste,passthrough";
