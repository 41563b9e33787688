//! `droste clean`: gives back the room that downloads and what was made of them take.

use clap::Args;

use crate::error::Result;
use crate::say;
use crate::setup::cache::Cache;

#[derive(Debug, Args)]
pub(super) struct Arguments {}

pub(super) fn execute() -> Result<()> {
    let Some(cache) = Cache::found() else {
        return say::result("there is no cache");
    };
    let mib = cache.clean()?.div_ceil(1 << 20);
    say::result(&format!("{}: {mib} MiB removed", cache.root().display()))
}
