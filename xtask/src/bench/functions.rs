//! Names of the hypervisor's functions, by the addresses that the plugin tells.

use std::collections::BTreeMap;
use std::path::Path;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use crate::workspace::Failure;

/// The image is loaded at a multiple of this, which is larger than its code.
const ALIGN: u64 = 2 << 20;

/// The functions of the hypervisor by address.
pub(crate) struct Functions(BTreeMap<u64, String>);

impl Functions {
    /// # Errors
    /// If the file is none or has no symbols.
    pub(crate) fn read(linked: &Path) -> Result<Self, Failure> {
        let bytes = droste::files::read(linked)?;
        let file = object::File::parse(&*bytes)
            .map_err(|error| Failure::new(format!("{}: {error}", linked.display())))?;
        // Labels of assembly have no type.
        let is_code = |index| {
            file.section_by_index(index)
                .is_ok_and(|section| section.kind() == object::SectionKind::Text)
        };
        let functions = file
            .symbols()
            .filter(|symbol| symbol.section_index().is_some_and(is_code));
        let named = functions.filter_map(|s| Some((s.address(), short(s.name().ok()?))));
        let symbols: BTreeMap<u64, String> = named.filter(|(_, n)| !n.starts_with('$')).collect();
        if symbols.is_empty() {
            return Err(Failure::new(format!("{} has no symbols", linked.display())));
        }
        Ok(Self(symbols))
    }

    /// The function at `address`.
    pub(crate) fn at(&self, address: u64) -> Option<&str> {
        let (_, name) = self.0.range(..=address % ALIGN).next_back()?;
        Some(name)
    }

    /// The function in which most of these samples are, each an address with how often it was found there.
    pub(crate) fn of_most(&self, places: &[(u64, u64)]) -> Option<&str> {
        let mut sums: BTreeMap<&str, u64> = BTreeMap::new();
        for (address, samples) in places {
            *sums.entry(self.at(*address)?).or_default() += samples;
        }
        sums.into_iter()
            .max_by_key(|(_, sum)| *sum)
            .map(|(name, _)| name)
    }
}

#[cfg(test)]
impl<const N: usize> From<[(u64, &str); N]> for Functions {
    fn from(symbols: [(u64, &str); N]) -> Self {
        Self(
            symbols
                .map(|(address, name)| (address, name.to_owned()))
                .into(),
        )
    }
}

/// The path of a mangled name (Rust's legacy scheme: each part behind its length), without its hash.
fn short(symbol: &str) -> String {
    let Some(mut rest) = symbol.strip_prefix("_ZN") else {
        return symbol.to_owned();
    };
    let mut parts = Vec::new();
    loop {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let length = rest[..digits].parse().ok();
        let end = length.and_then(|length: usize| digits.checked_add(length));
        let Some(part) = end.and_then(|end| rest.get(digits..end)) else {
            break;
        };
        rest = &rest[digits + part.len()..];
        parts.push(part);
    }
    // The hash is the last part.
    parts.pop();
    let last = &parts[parts.len().saturating_sub(2)..];
    let escapes = [("$LT$", "<"), ("$GT$", ">"), ("$u20$", " "), ("..", "::")];
    let path = last.iter().map(|part| part.trim_start_matches('_'));
    let path = path.collect::<Vec<_>>().join("::");
    escapes
        .iter()
        .fold(path, |path, (escape, meant)| path.replace(escape, meant))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_their_lengths_and_hash() {
        let mangled = "_ZN13droste_stage25table5Table4free17h0123456789abcdefE";
        assert_eq!(short(mangled), "Table::free");
        let of_impl = "_ZN4vdev39_$LT$impl$u20$droste_vdev..gic..Gic$GT$4fill17h0123456789abcdefE";
        assert_eq!(short(of_impl), "<impl droste_vdev::gic::Gic>::fill");
        assert_eq!(short("vectors"), "vectors");
    }

    #[test]
    fn an_address_is_in_the_function_before_it() {
        let symbols = Functions::from([(0x100, "early"), (0x800, "late")]);
        assert_eq!(symbols.at(ALIGN + 0x7fc), Some("early"));
        assert_eq!(symbols.at(ALIGN + 0x800), Some("late"));
        assert_eq!(symbols.at(ALIGN + 0x40), None);
    }
}
