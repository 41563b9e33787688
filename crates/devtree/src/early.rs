//! A look into a device tree for who has no heap and little time: one pass over its tokens up to `/chosen` (Devicetree
//! Specification, 5.4).

use droste_platform::option;

const BEGIN_NODE: u32 = 1;
const END_NODE: u32 = 2;
const PROPERTY: u32 = 3;
const NOP: u32 = 4;

/// An option of the command line in `/chosen` of the device tree `tree`, as [`option`] finds it; `None` as well if the bytes
/// are no device tree.
pub fn boot_option<'a>(tree: &'a [u8], name: &str) -> Option<&'a str> {
    let bootargs = bootargs(tree)?;
    let end = bootargs.iter().position(|byte| *byte == 0)?;
    option(core::str::from_utf8(&bootargs[..end]).ok()?, name)
}

/// The value of `/chosen/bootargs`.
fn bootargs(tree: &[u8]) -> Option<&[u8]> {
    const MAGIC: u32 = 0xd00d_feed;
    if word(tree, 0)? != MAGIC {
        return None;
    }
    let strings = tree.get(word(tree, 12)? as usize..)?;
    let mut at = word(tree, 8)? as usize;
    let mut depth = 0u32;
    let mut is_chosen = false;
    loop {
        let token = word(tree, at)?;
        at += 4;
        match token {
            // Properties of a node stand before its children, and nothing is asked of these.
            BEGIN_NODE | END_NODE if is_chosen => return None,
            BEGIN_NODE => {
                let name = tree.get(at..)?;
                let bytes = name.iter().position(|byte| *byte == 0)?;
                is_chosen = depth == 1 && &name[..bytes] == b"chosen";
                depth = depth.checked_add(1)?;
                at += (bytes + 1).next_multiple_of(4);
            }
            END_NODE => depth = depth.checked_sub(1)?,
            PROPERTY => {
                let (bytes, name) = (word(tree, at)? as usize, word(tree, at + 4)? as usize);
                at += 8;
                if is_chosen && strings.get(name..)?.starts_with(b"bootargs\0") {
                    return tree.get(at..)?.get(..bytes);
                }
                at = at.checked_add(bytes)?.checked_next_multiple_of(4)?;
            }
            NOP => {}
            _ => return None,
        }
    }
}

/// The big-endian word at `at`.
fn word(tree: &[u8], at: usize) -> Option<u32> {
    let bytes = tree.get(at..)?.first_chunk()?;
    Some(u32::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use crate::Tree;

    const TREES: [&[u8]; 2] = [
        include_bytes!("../tests/virt.dtb"),
        include_bytes!("../tests/nodes.dtb"),
    ];

    /// The tree with this command line, in the place of one as long.
    fn with_bootargs(tree: &[u8], line: &str) -> Option<std::vec::Vec<u8>> {
        let old = bootargs(tree)?;
        let at = old.as_ptr() as usize - tree.as_ptr() as usize;
        assert!(line.len() < old.len(), "{} bytes are there", old.len());
        let mut tree = tree.to_vec();
        tree[at..at + old.len() - 1].fill(b' ');
        tree[at..at + line.len()].copy_from_slice(line.as_bytes());
        Some(tree)
    }

    #[test]
    fn an_option_is_found_as_in_the_tree_that_is_read_whole() {
        let mut found = 0;
        for tree in TREES {
            for line in ["a.b=1 c", "c", ""] {
                let Some(tree) = with_bootargs(tree, line) else {
                    continue;
                };
                let whole = Tree::read(&tree).expect("a tree");
                for name in ["a.b", "c", "a", "d", "droste.report"] {
                    let option = boot_option(&tree, name);
                    assert_eq!(option, whole.option(name), "{name} of {line:?}");
                    found += usize::from(option.is_some());
                }
            }
        }
        assert!(found >= 3, "no fixture has a command line");
    }

    #[test]
    fn no_bytes_do_harm() {
        for tree in TREES {
            for end in (0..tree.len().min(16 << 10)).step_by(3) {
                let _ = boot_option(&tree[..end], "a");
            }
            let mut state = 1u64;
            for _ in 0..20_000 {
                let mut tree = tree[..tree.len().min(16 << 10)].to_vec();
                for _ in 0..4 {
                    state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
                    let at = (state >> 33) as usize % tree.len();
                    tree[at] = (state >> 24) as u8;
                }
                let _ = boot_option(&tree, "a");
            }
        }
    }
}
