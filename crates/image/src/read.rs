//! Reads a boot image in place.
//!
//! The bytes come through a boot loader, so they are claims: every offset, length and value is checked before anything
//! uses it, and nothing here panics or allocates. A blob is a slice of the input.

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::{FromPropertyValue, Node, Property};

use crate::error::ImageError;
use crate::names;
use crate::newc::Archive;
use crate::vm::{
    Console, DevicePaths, Dom0, El2, OnReboot, VMS_MAX, VmError, VmImage, check_bootargs,
    check_device_path, check_memory, check_name, check_vcpus,
};

/// A complete boot image, with a well-formed device tree and a different name for each virtual machine.
#[derive(Clone, Copy, Debug)]
pub struct BootImage<'a> {
    archive: Archive<'a>,
    vms: FdtNode<'a>,
}

impl<'a> BootImage<'a> {
    /// Accepts a boot image in the current version of the format; `bytes` may be longer than the image.
    ///
    /// Each virtual machine's values are checked by [`Self::vms`].
    ///
    /// # Errors
    /// Why the bytes are not a boot image, or why its virtual machines cannot be listed.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ImageError> {
        let archive = Archive::parse(bytes)?;
        let tree = archive
            .find(names::MEMBER_TREE)
            .ok_or(ImageError::Foreign)?;
        let root = Fdt::new(tree).map_err(ImageError::Tree)?.root();
        let format = root
            .property(names::PROP_FORMAT)
            .ok_or(ImageError::Foreign)?;
        match format.value_as::<u32>() {
            Ok(names::FORMAT) => {}
            Ok(other) => return Err(ImageError::Version(other)),
            Err(_) => return Err(ImageError::Foreign),
        }
        let image = Self {
            archive,
            vms: root.child(names::NODE_VMS).ok_or(ImageError::NoVms)?,
        };
        image.check_names()?;
        Ok(image)
    }

    /// The virtual machines, in the image's order, every value within its limits.
    pub fn vms(&self) -> impl Iterator<Item = Result<VmImage<'a>, ImageError>> + '_ {
        self.nodes()
            .zip(1..)
            .map(|(node, vm)| self.vm(&Reading { node, vm }))
    }

    /// The nodes of the virtual machines.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = FdtNode<'a>> + '_ {
        self.vms.children()
    }

    /// The bytes of the member at `path`; `None` where there is none.
    pub(crate) fn blob(&self, path: &str) -> Option<&'a [u8]> {
        self.archive.find(path)
    }

    fn check_names(&self) -> Result<(), ImageError> {
        let count = self.nodes().count();
        if !(1..=VMS_MAX).contains(&count) {
            return Err(ImageError::VmCount(count));
        }
        let mut seen = [""; VMS_MAX];
        for (index, node) in self.nodes().enumerate() {
            let name = node.name();
            let earlier = seen.get(..index).unwrap_or(&[]);
            if earlier.contains(&name) {
                return Err(ImageError::DuplicateName { vm: index + 1 });
            }
            if let Some(slot) = seen.get_mut(index) {
                *slot = name;
            }
        }
        Ok(())
    }

    fn vm(&self, at: &Reading<'a>) -> Result<VmImage<'a>, ImageError> {
        let name = at.node.name();
        at.judge(check_name(name))?;
        let vcpus = at.required::<u32>(names::PROP_VCPUS)?;
        at.judge(check_vcpus(vcpus))?;
        let memory = at.required::<u64>(names::PROP_MEMORY)?;
        at.judge(check_memory(memory))?;
        let bootargs = at.required::<&str>(names::PROP_BOOTARGS)?;
        at.judge(check_bootargs(bootargs))?;
        Ok(VmImage {
            name,
            vcpus,
            memory,
            kernel: self
                .blob_named(at, names::PROP_KERNEL)?
                .ok_or(at.missing(names::PROP_KERNEL))?,
            initrd: self.blob_named(at, names::PROP_INITRD)?,
            bootargs,
            console: at.word(names::PROP_CONSOLE, Console::from_word)?,
            on_reboot: at.word(names::PROP_ON_REBOOT, OnReboot::from_word)?,
            el2: at
                .optional_word(names::PROP_EL2, El2::from_word)?
                .unwrap_or_default(),
            dom0: self.dom0(at)?,
            passthrough: at.paths(names::PROP_PASSTHROUGH)?,
        })
    }

    fn dom0(&self, at: &Reading<'a>) -> Result<Option<Dom0<'a>>, ImageError> {
        let Some(kernel) = self.blob_named(at, names::PROP_DOM0_KERNEL)? else {
            return Ok(None);
        };
        let bootargs = at.required::<&str>(names::PROP_DOM0_BOOTARGS)?;
        at.judge(check_bootargs(bootargs))?;
        Ok(Some(Dom0 {
            kernel,
            initrd: self.blob_named(at, names::PROP_DOM0_INITRD)?,
            bootargs,
        }))
    }

    /// The blob whose member the property names; `None` without the property.
    fn blob_named(
        &self,
        at: &Reading<'a>,
        property: &'static str,
    ) -> Result<Option<&'a [u8]>, ImageError> {
        let Some(path) = at.optional::<&str>(property)? else {
            return Ok(None);
        };
        let vm = at.vm;
        match self.blob(path) {
            None => Err(ImageError::MissingBlob { vm, property }),
            Some([]) => Err(ImageError::EmptyBlob { vm, property }),
            Some(bytes) => Ok(Some(bytes)),
        }
    }
}

/// The node of the `vm`-th virtual machine, being read.
struct Reading<'a> {
    node: FdtNode<'a>,
    vm: usize,
}

impl<'a> Reading<'a> {
    fn judge(&self, checked: Result<(), VmError>) -> Result<(), ImageError> {
        checked.map_err(|error| ImageError::Vm { vm: self.vm, error })
    }

    fn missing(&self, property: &'static str) -> ImageError {
        ImageError::Missing {
            vm: self.vm,
            property,
        }
    }

    fn optional<T: FromPropertyValue<'a>>(
        &self,
        property: &'static str,
    ) -> Result<Option<T>, ImageError> {
        let Some(found) = self.node.property(property) else {
            return Ok(None);
        };
        let value = found.value_as::<T>().map_err(|_| ImageError::Malformed {
            vm: self.vm,
            property,
        })?;
        Ok(Some(value))
    }

    fn required<T: FromPropertyValue<'a>>(&self, property: &'static str) -> Result<T, ImageError> {
        self.optional(property)?.ok_or(self.missing(property))
    }

    fn word<T>(
        &self,
        property: &'static str,
        meaning: impl Fn(&str) -> Option<T>,
    ) -> Result<T, ImageError> {
        self.optional_word(property, meaning)?
            .ok_or(self.missing(property))
    }

    fn optional_word<T>(
        &self,
        property: &'static str,
        meaning: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ImageError> {
        let Some(word) = self.optional::<&str>(property)? else {
            return Ok(None);
        };
        meaning(word).map(Some).ok_or(ImageError::Malformed {
            vm: self.vm,
            property,
        })
    }

    /// A list of device paths.
    fn paths(&self, property: &'static str) -> Result<DevicePaths<'a>, ImageError> {
        let list = self.optional::<&[u8]>(property)?.unwrap_or(&[]);
        let list = core::str::from_utf8(list).ok();
        let list = list.filter(|list| list.is_empty() || list.ends_with('\0'));
        let paths = DevicePaths(list.ok_or(ImageError::Malformed {
            vm: self.vm,
            property,
        })?);
        paths
            .iter()
            .try_for_each(|path| self.judge(check_device_path(path)))?;
        Ok(paths)
    }
}
