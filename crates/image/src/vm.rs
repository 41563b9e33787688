//! What a virtual machine may ask for: the limits, each in one place, and the choices with their spelling.
//!
//! The host tool checks a description against these before it packs it, and EL2 checks what it unpacks against the
//! same functions, because the bytes it gets need not come from our tool.

use core::fmt;

/// The most virtual machines that one boot image holds.
pub const VMS_MAX: usize = 16;

/// The most members of an archive before its trailer: for each virtual machine four blobs and, in one that was packed anew, a
/// directory; the device tree and its checksum; some room.
pub(crate) const MEMBERS_MAX: usize = 6 * VMS_MAX;

/// The longest name of a virtual machine, in bytes: that of a device-tree node.
pub const NAME_MAX: usize = 31;
/// The most vCPUs of one virtual machine.
pub const VCPUS_MAX: u32 = 64;
/// The most vCPUs of all virtual machines together, each counted [`El2::vcpu_weight`] times: EL2 keeps up to 4 KiB for
/// one, in a heap of 1 MiB.
pub const VCPUS_IN_ALL: u32 = 192;
/// The least memory of a virtual machine, in bytes.
pub const MEMORY_MIN: u64 = 16 << 20;
/// Memory comes in multiples of this many bytes: the largest page that a guest can use. Where the size is not a
/// multiple of 2 MiB, the end is mapped by smaller pages than the rest.
pub const MEMORY_STEP: u64 = 64 << 10;
/// The most memory of a virtual machine, in bytes: what 40 bits of intermediate physical address leave above the
/// devices, rounded down to a power of two.
pub const MEMORY_MAX: u64 = 512 << 30;
/// The longest guest command line, in bytes: arm64 Linux keeps 2048 with the terminator.
pub const BOOTARGS_MAX: usize = 2047;

/// Whether a virtual machine has a console.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Console {
    /// An emulated PL011 whose output appears on the machine's console.
    #[default]
    Uart,
    /// None: the guest's device tree has no serial port.
    None,
}

/// What happens when a guest asks for a reset.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnReboot {
    /// The virtual machine starts anew from its image.
    #[default]
    Restart,
    /// The virtual machine stops, as if it had been switched off.
    Stop,
}

/// Which kind of EL2 the guest has. A guest with an EL2 can be a hypervisor, with virtual machines of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum El2 {
    /// None: the guest starts at EL1.
    #[default]
    None,
    /// With the Virtualization Host Extensions and HCR_EL2.E2H = 1: a whole operating system can run there, and Linux
    /// does (DDI 0487, FEAT_VHE).
    Vhe,
    /// Without those extensions, as with HCR_EL2.E2H = 0: a hypervisor runs there and nothing else.
    Nvhe,
}

/// What a guest hypervisor starts first, such as Xen's domain 0. The guest finds it in its device tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Dom0<'a> {
    /// The kernel, in any format that the hypervisor accepts.
    pub kernel: &'a [u8],
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// The kernel's command line.
    pub bootargs: &'a str,
}

/// One virtual machine as a boot image holds it: what the host tool packs, and what EL2 reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VmImage<'a> {
    /// `[a-z0-9-]{1,31}`, unique in the image.
    pub name: &'a str,
    /// vCPUs, 1 to [`VCPUS_MAX`].
    pub vcpus: u32,
    /// Memory in bytes, a multiple of 64 KiB.
    pub memory: u64,
    /// The kernel, an arm64 `Image`; [`kernel::Header::parse`](crate::kernel::Header::parse) judges it.
    pub kernel: &'a [u8],
    /// The initial RAM disk.
    pub initrd: Option<&'a [u8]>,
    /// The guest's command line.
    pub bootargs: &'a str,
    /// Whether it has a console.
    pub console: Console,
    /// What a reset does.
    pub on_reboot: OnReboot,
    /// Which EL2 the guest has.
    pub el2: El2,
    /// What the guest starts first, where it is a hypervisor that asks for that.
    pub dom0: Option<Dom0<'a>>,
    /// The platform's devices that it gets for its own.
    pub passthrough: DevicePaths<'a>,
}

/// Devices by their absolute device-tree paths, each ended by a NUL: a list of strings as a device tree has it
/// (Devicetree Specification, 2.2.4).
///
/// ```
/// use droste_image::DevicePaths;
/// assert!(DevicePaths("/uart@9000000\0/rtc@9010000\0").iter().eq(["/uart@9000000", "/rtc@9010000"]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct DevicePaths<'a>(pub &'a str);

impl<'a> DevicePaths<'a> {
    /// The paths, in their order.
    pub fn iter(self) -> impl Iterator<Item = &'a str> {
        self.0.split_terminator('\0')
    }
}

impl Console {
    /// The word that stands for it in a boot image.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uart => "uart",
            Self::None => "none",
        }
    }

    /// The choice that a word of a boot image stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Uart, Self::None]
            .into_iter()
            .find(|c| c.as_str() == word)
    }
}

impl OnReboot {
    /// The word that stands for it in a boot image and in a description.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }

    /// The choice that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Restart, Self::Stop]
            .into_iter()
            .find(|c| c.as_str() == word)
    }
}

impl El2 {
    /// How many times a vCPU counts towards [`VCPUS_IN_ALL`]: one with an EL2 has about twice the state.
    pub fn vcpu_weight(self) -> u32 {
        if self == Self::None { 1 } else { 2 }
    }

    /// The word that stands for it in a boot image and in a description.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Vhe => "vhe",
            Self::Nvhe => "nvhe",
        }
    }

    /// The choice that a word stands for.
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::None, Self::Vhe, Self::Nvhe]
            .into_iter()
            .find(|c| c.as_str() == word)
    }
}

/// A value outside the limits of a virtual machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum VmError {
    /// The name is empty or longer than [`NAME_MAX`] bytes; carries its length.
    NameLength(usize),
    /// The name holds a character that is not allowed; carries the first one.
    NameCharacter(char),
    /// No vCPU, or more than [`VCPUS_MAX`].
    Vcpus(u32),
    /// Memory in bytes outside [`MEMORY_MIN`]..=[`MEMORY_MAX`].
    MemorySize(u64),
    /// Memory in bytes that is not a multiple of [`MEMORY_STEP`].
    MemoryStep(u64),
    /// A command line longer than [`BOOTARGS_MAX`] bytes; carries its length.
    BootargsLength(usize),
    /// A command line with a control character; carries the first one.
    BootargsCharacter(char),
    /// A device-tree path that is not absolute, or holds white space or a control character.
    DevicePath,
}

impl fmt::Display for VmError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::NameLength(0) => f.write_str("the name is empty; give it 1 to 31 characters"),
            Self::NameLength(n) => write!(f, "the name has {n} characters; shorten it to {NAME_MAX}"),
            Self::NameCharacter(c) => {
                write!(f, "{c:?} cannot stand in a name; use a-z, 0-9 and '-'")
            }
            Self::Vcpus(n) => write!(f, "{n} vCPUs are not possible; give 1 to {VCPUS_MAX}"),
            Self::MemorySize(n) => {
                write!(f, "{n} bytes of memory are not possible; give {}M to {}G", MEMORY_MIN >> 20, MEMORY_MAX >> 30)
            }
            Self::MemoryStep(n) => {
                write!(f, "{n} bytes of memory are not a multiple of 64 KiB; round to {}M", n.div_ceil(1 << 20))
            }
            Self::BootargsLength(n) => {
                write!(f, "the command line has {n} bytes; shorten it to {BOOTARGS_MAX}")
            }
            Self::BootargsCharacter(c) => {
                write!(f, "{c:?} cannot stand in a command line; write it as one line of printable text")
            }
            Self::DevicePath => {
                f.write_str("a device is named by its absolute device-tree path, for example /virtio_mmio@a000000")
            }
        }
    }
}

impl core::error::Error for VmError {}

/// Accepts `[a-z0-9-]{1,31}`.
///
/// # Errors
/// The length or the first character that is wrong.
pub fn check_name(name: &str) -> Result<(), VmError> {
    if name.is_empty() || name.len() > NAME_MAX {
        return Err(VmError::NameLength(name.chars().count()));
    }
    match name
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-'))
    {
        Some(c) => Err(VmError::NameCharacter(c)),
        None => Ok(()),
    }
}

/// Accepts 1 to [`VCPUS_MAX`] vCPUs.
///
/// # Errors
/// The number itself.
pub const fn check_vcpus(vcpus: u32) -> Result<(), VmError> {
    if vcpus >= 1 && vcpus <= VCPUS_MAX {
        Ok(())
    } else {
        Err(VmError::Vcpus(vcpus))
    }
}

/// Accepts a multiple of [`MEMORY_STEP`] from [`MEMORY_MIN`] to [`MEMORY_MAX`] bytes.
///
/// # Errors
/// The size itself: out of range, or not a multiple.
pub const fn check_memory(bytes: u64) -> Result<(), VmError> {
    if bytes < MEMORY_MIN || bytes > MEMORY_MAX {
        Err(VmError::MemorySize(bytes))
    } else if !bytes.is_multiple_of(MEMORY_STEP) {
        Err(VmError::MemoryStep(bytes))
    } else {
        Ok(())
    }
}

/// Accepts up to [`BOOTARGS_MAX`] bytes of text without control characters.
///
/// # Errors
/// The length or the first character that is wrong.
pub fn check_bootargs(bootargs: &str) -> Result<(), VmError> {
    if bootargs.len() > BOOTARGS_MAX {
        return Err(VmError::BootargsLength(bootargs.len()));
    }
    match bootargs.chars().find(|c| c.is_control()) {
        Some(c) => Err(VmError::BootargsCharacter(c)),
        None => Ok(()),
    }
}

/// Accepts an absolute device-tree path.
///
/// # Errors
/// [`VmError::DevicePath`].
pub fn check_device_path(path: &str) -> Result<(), VmError> {
    let named = path.strip_prefix('/').is_some_and(|rest| !rest.is_empty());
    if named && !path.chars().any(|c| c.is_control() || c.is_whitespace()) {
        Ok(())
    } else {
        Err(VmError::DevicePath)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_small_letters_digits_and_dashes_passes() {
        assert_eq!(check_name("guest-1"), Ok(()));
        assert_eq!(check_name("a234567890123456789012345678901"), Ok(()));
    }

    #[test]
    fn a_wrong_name_says_what_is_wrong() {
        assert_eq!(check_name(""), Err(VmError::NameLength(0)));
        assert_eq!(
            check_name("a2345678901234567890123456789012"),
            Err(VmError::NameLength(32))
        );
        assert_eq!(check_name("Guest"), Err(VmError::NameCharacter('G')));
        assert_eq!(check_name("a b"), Err(VmError::NameCharacter(' ')));
    }

    #[test]
    fn the_ends_of_the_vcpu_range_pass_and_their_neighbours_fail() {
        assert_eq!((check_vcpus(1), check_vcpus(64)), (Ok(()), Ok(())));
        assert_eq!(check_vcpus(0), Err(VmError::Vcpus(0)));
        assert_eq!(check_vcpus(65), Err(VmError::Vcpus(65)));
    }

    #[test]
    fn memory_is_a_multiple_of_64_kib_within_the_limits() {
        for possible in [MEMORY_MIN, MEMORY_MIN + MEMORY_STEP, MEMORY_MAX] {
            assert_eq!(check_memory(possible), Ok(()));
        }
        assert_eq!(
            check_memory(MEMORY_MIN - 1),
            Err(VmError::MemorySize(MEMORY_MIN - 1))
        );
        assert_eq!(check_memory(u64::MAX), Err(VmError::MemorySize(u64::MAX)));
        assert_eq!(
            check_memory(MEMORY_MIN + 1),
            Err(VmError::MemoryStep(MEMORY_MIN + 1))
        );
    }

    #[test]
    fn a_command_line_is_one_line_that_linux_can_hold() {
        assert_eq!(check_bootargs(""), Ok(()));
        assert_eq!(
            check_bootargs("a\nb"),
            Err(VmError::BootargsCharacter('\n'))
        );
        let long = [b'x'; BOOTARGS_MAX + 1];
        let long = core::str::from_utf8(&long).expect("ASCII");
        assert_eq!(
            check_bootargs(long),
            Err(VmError::BootargsLength(BOOTARGS_MAX + 1))
        );
        assert_eq!(check_bootargs(&long[1..]), Ok(()));
    }

    #[test]
    fn a_device_path_is_absolute() {
        assert_eq!(check_device_path("/virtio_mmio@a000000"), Ok(()));
        for wrong in ["", "/", "virtio_mmio@a000000", "/a b", "/a\0"] {
            assert_eq!(
                check_device_path(wrong),
                Err(VmError::DevicePath),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn each_choice_survives_its_spelling() {
        for console in [Console::Uart, Console::None] {
            assert_eq!(Console::from_word(console.as_str()), Some(console));
        }
        for on_reboot in [OnReboot::Restart, OnReboot::Stop] {
            assert_eq!(OnReboot::from_word(on_reboot.as_str()), Some(on_reboot));
        }
        for el2 in [El2::None, El2::Vhe, El2::Nvhe] {
            assert_eq!(El2::from_word(el2.as_str()), Some(el2));
        }
        assert_eq!(Console::from_word("vga"), None);
        assert_eq!(El2::from_word("VHE"), None);
        assert_eq!(OnReboot::from_word(""), None);
    }
}
