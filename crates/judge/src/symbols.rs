//! Addresses of code to names.

/// Further behind a symbol than this an address is not its.
const REACH: u64 = 1 << 20;

/// Names of functions.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Symbols(Vec<(u64, String)>);

impl Symbols {
    /// These, in any order.
    pub fn new(symbols: impl IntoIterator<Item = (u64, String)>) -> Self {
        let mut all: Vec<_> = symbols.into_iter().collect();
        all.sort_unstable();
        Self(all)
    }

    /// What `nm` prints, or a System.map: lines of address, type and name. Code alone counts. `None` if no line is one.
    pub fn parse(text: &str) -> Option<Self> {
        let symbols = text.lines().filter_map(|line| {
            let (address, rest) = line.trim().split_once(' ')?;
            let (kind, name) = rest.trim_start().split_once(' ')?;
            let is_code = matches!(kind, "t" | "T" | "w" | "W") && !name.starts_with('$');
            let address = u64::from_str_radix(address, 16).ok()?;
            is_code.then(|| (address, name.trim().to_owned()))
        });
        let found = Self::new(symbols);
        (!found.0.is_empty()).then_some(found)
    }

    /// The same code loaded so many bytes further up.
    #[must_use]
    pub fn moved(mut self, by: u64) -> Self {
        for (address, _) in &mut self.0 {
            *address = address.wrapping_add(by);
        }
        self.0.sort_unstable();
        self
    }

    /// The function, and how far into it an address is.
    fn find(&self, pc: u64) -> Option<(&str, u64)> {
        let after = self.0.partition_point(|&(address, _)| address <= pc);
        let (address, name) = &self.0[after.checked_sub(1)?];
        let offset = pc - address;
        (offset < REACH).then_some((name, offset))
    }

    /// The function and the distance into it, or else the address.
    pub fn name(&self, pc: u64) -> String {
        match self.find(pc) {
            Some((name, offset)) => format!("{name}+{offset:#x}"),
            None => format!("{pc:#x}"),
        }
    }

    /// The function, or else the address.
    pub fn function(&self, pc: u64) -> String {
        match self.find(pc) {
            Some((name, _)) => name.to_owned(),
            None => format!("{pc:#x}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NM: &str = "\
ffff800080010000 T stage2_unmap
ffff800080010040 t <a::b as c>::d
ffff800080010020 D not_code
                 U undefined
ffff800080010060 t $x.3
";

    #[test]
    fn an_address_is_of_the_function_before_it() {
        let symbols = Symbols::parse(NM).unwrap();
        assert_eq!(symbols.name(0xffff_8000_8001_0024), "stage2_unmap+0x24");
        assert_eq!(symbols.function(0xffff_8000_8001_0064), "<a::b as c>::d");
        assert_eq!(symbols.name(0xffff_8000_8000_ffff), "0xffff80008000ffff");
        assert_eq!(symbols.name(0xffff_8000_8081_0000), "0xffff800080810000");
    }

    #[test]
    fn code_that_was_moved_has_its_names_elsewhere() {
        let symbols = Symbols::parse("0000000000000040 T entry\n").unwrap();
        assert_eq!(symbols.moved(0x4008_0000).name(0x4008_0044), "entry+0x4");
    }

    #[test]
    fn what_names_no_code_is_no_list_of_symbols() {
        assert_eq!(Symbols::parse("an ELF file\n"), None);
        assert_eq!(Symbols::parse(""), None);
    }
}
