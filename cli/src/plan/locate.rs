//! Where the parts of a description are: files of the user's, and what was fetched or can be.

use std::convert::Infallible;
use std::path::PathBuf;

use crate::description::{Description, Located, Part, Placed};
use crate::error::Result;
use crate::setup::Setup;
use crate::setup::cache::Cache;
use crate::setup::guest::Kernel;
use crate::setup::initrd::ModulesOf;
use crate::setup::{guest, initrd};

/// Where the parts of a description are, fetched if need be, but for its monitors.
pub(super) fn fetch(setup: &Setup, vm: &Description) -> Result<Located> {
    let kernel = |package: &str| setup.kernel(package).map(Some);
    let hypervisor = || setup.hypervisor().map(Some);
    let initrd = |modules: &ModulesOf<'_>| setup.initrd_with(modules).map(Some);
    let mut located = locate(vm, kernel, hypervisor, initrd)?;
    located.vms = vm
        .vms
        .iter()
        .map(|vm| fetch(setup, vm))
        .collect::<Result<_>>()?;
    Ok(located)
}

/// Where the parts of a description are, as far as they are there.
pub(super) fn find(cache: Option<&Cache>, vm: &Description) -> Located {
    let kernel = |package: &str| Ok(cache.and_then(|cache| guest::cached_kernel(cache, package)));
    let initrd =
        |modules: &ModulesOf<'_>| Ok(cache.and_then(|cache| initrd::cached(cache, modules)));
    let Ok(mut located) = locate::<Infallible>(vm, kernel, || Ok(None), initrd);
    located.vms = vm.vms.iter().map(|vm| find(cache, vm)).collect();
    located
}

/// Where the parts of a description are, but for its monitors and what runs on it. `kernel_of` a package, the hypervisor,
/// and the RAM disk for a kernel are `None` where they are not there yet.
fn locate<E>(
    vm: &Description,
    kernel_of: impl Fn(&str) -> Result<Option<Kernel>, E>,
    hypervisor: impl Fn() -> Result<Option<PathBuf>, E>,
    initrd_for: impl Fn(&ModulesOf<'_>) -> Result<Option<PathBuf>, E>,
) -> Result<Located, E> {
    let both = |kernel: &Part, initrd: Option<&Placed<Part>>| {
        let packaged = match kernel {
            Part::Debian(package) => kernel_of(package)?,
            Part::File(_) | Part::Hypervisor => None,
        };
        let initrd = match initrd.map(|initrd| &initrd.value) {
            Some(Part::Debian(_)) => {
                let named = vm.modules.as_ref().map(|modules| modules.value.as_path());
                // One that is not there has a finding.
                let named = named.filter(|dir| dir.is_dir()).map(ModulesOf::Dir);
                let own = || {
                    packaged
                        .as_ref()
                        .map_or(ModulesOf::Nothing, ModulesOf::Package)
                };
                initrd_for(&named.unwrap_or_else(own))?
            }
            Some(Part::File(file)) => Some(file.clone()),
            Some(Part::Hypervisor) | None => None,
        };
        let kernel = match kernel {
            Part::File(file) => Some(file.clone()),
            Part::Debian(_) => packaged.as_ref().map(Kernel::image),
            Part::Hypervisor => hypervisor()?,
        };
        Ok([kernel, initrd])
    };
    let [kernel, initrd] = both(&vm.kernel.value, vm.initrd.as_ref())?;
    let dom0 = vm.dom0.as_ref();
    let dom0 = dom0.map(|dom0| both(&dom0.kernel.value, dom0.initrd.as_ref()));
    Ok(Located {
        kernel,
        initrd,
        dom0: dom0.transpose()?.unwrap_or_default(),
        vms: Vec::new(),
        monitors: Vec::new(),
    })
}
