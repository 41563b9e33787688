//! Which files of a crate need which.
//!
//! A file needs those in which the items stand that its code or its private `use`s name. To re-export a name, or to declare a
//! module, needs nothing: whoever takes the name from there needs the file in which it is defined. What stands in the folder
//! of a module is a part of it, and may take what the module defines for its parts.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use syn::visit::{self, Visit};

/// How many names may lead to one another before it is given up: a `use` may name itself through a re-export.
const HOPS: usize = 16;

/// A path of names from the root of a crate.
type Names = Vec<String>;

/// Which files a file needs, by their paths.
pub(super) type Edges<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// One crate: its modules by their names from the root.
#[derive(Default)]
pub(super) struct Crate {
    modules: BTreeMap<Names, Module>,
}

/// What one file says.
#[derive(Default)]
struct Module {
    path: String,
    /// What a `use` calls a name, as it is written there.
    uses: HashMap<String, Names>,
    /// What it takes every name of, as it is written.
    globs: Vec<Names>,
    /// Items that are defined here.
    items: BTreeSet<String>,
    /// The names that code and private `use`s take, as they are written.
    taken: BTreeSet<Names>,
}

/// The crates that `files`, each a path from the workspace's root with its text, make: each under the path of its root's
/// folder.
///
/// # Errors
/// The path of a file that is no Rust.
pub(super) fn crates(files: &[(String, String)]) -> Result<BTreeMap<String, Crate>, String> {
    let paths: BTreeSet<&str> = files.iter().map(|(path, _)| path.as_str()).collect();
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for (path, text) in files {
        let Some((root, names)) = place(path, &paths) else {
            continue;
        };
        let parsed = syn::parse_file(text).map_err(|e| format!("{path}: {e}"))?;
        let mut module = Module {
            path: path.clone(),
            ..Module::default()
        };
        module.visit_file(&parsed);
        crates
            .entry(root)
            .or_default()
            .modules
            .insert(names, module);
    }
    Ok(crates)
}

/// The root of the crate that a file belongs to and its module's names there; none for tests and what stands outside `src`.
fn place(path: &str, paths: &BTreeSet<&str>) -> Option<(String, Names)> {
    let (package, within) = path.split_once("src/")?;
    let mut names: Names = within
        .strip_suffix(".rs")?
        .split('/')
        .map(str::to_owned)
        .collect();
    if names.iter().any(|name| name == "tests") {
        return None;
    }
    let mut root = format!("{package}src");
    if names[0] == "bin" && names.len() > 1 {
        root = format!("{root}/bin/{}", names[1]);
        names.drain(..2);
    } else if within == "main.rs" && paths.contains(format!("{root}/lib.rs").as_str()) {
        root = format!("{root}/main.rs");
    }
    if let Some("lib" | "main" | "mod") = names.last().map(String::as_str) {
        names.pop();
    }
    Some((root, names))
}

impl Crate {
    /// Which of its files need which.
    pub(super) fn edges(&self) -> Edges<'_> {
        let needs = |(names, module): (&Names, &Module)| {
            let taken = module.taken.iter();
            taken
                .filter_map(|path| self.home(names, path, HOPS))
                .filter(|home| home.path != module.path && !home.has_part(module))
                .map(|home| home.path.as_str())
                .collect()
        };
        let modules = self.modules.iter();
        modules
            .map(|(names, module)| (module.path.as_str(), needs((names, module))))
            .collect()
    }

    /// The file in which the item stands that `path` names in module `within`; none if that is a module or no item of the crate.
    fn home(&self, within: &Names, path: &[String], hops: usize) -> Option<&Module> {
        let hops = hops.checked_sub(1)?;
        let absolute = self.absolute(within, path, hops)?;
        let depth = (0..=absolute.len())
            .rev()
            .find(|depth| self.modules.contains_key(&absolute[..*depth]))?;
        let (names, rest) = absolute.split_at(depth);
        let names = names.to_vec();
        let module = &self.modules[&names];
        let name = rest.first()?;
        if module.items.contains(name) {
            return Some(module);
        }
        if let Some(target) = module.uses.get(name) {
            let path: Names = target.iter().chain(&rest[1..]).cloned().collect();
            return self.home(&names, &path, hops);
        }
        let globbed = module.globs.iter().find_map(|glob| {
            let path: Names = glob.iter().chain(rest).cloned().collect();
            self.home(&names, &path, hops)
        });
        // Items that a macro defines are seen nowhere: they stand where they are taken from.
        globbed.or(Some(module))
    }

    /// `path` from the root of the crate; none if it leads out of it.
    fn absolute(&self, within: &Names, path: &[String], hops: usize) -> Option<Names> {
        let hops = hops.checked_sub(1)?;
        let (first, rest) = path.split_first()?;
        let under = |names: &[String]| Some(names.iter().chain(rest).cloned().collect());
        match first.as_str() {
            "crate" => Some(rest.to_vec()),
            "self" => self.absolute_or_under(within, rest, hops),
            "super" => {
                let (_, parent) = within.split_last()?;
                self.absolute_or_under(&parent.to_vec(), rest, hops)
            }
            name => {
                let child: Names = within.iter().chain([first]).cloned().collect();
                if self.modules.contains_key(&child) {
                    return under(&child);
                }
                let target = self.modules.get(within)?.uses.get(name)?;
                let path: Names = target.iter().chain(rest).cloned().collect();
                self.absolute(within, &path, hops)
            }
        }
    }

    fn absolute_or_under(&self, within: &Names, rest: &[String], hops: usize) -> Option<Names> {
        if rest.first().is_some_and(|name| name == "super") {
            return self.absolute(within, rest, hops);
        }
        Some(within.iter().chain(rest).cloned().collect())
    }
}

impl Module {
    /// Whether `other` stands in this module's folder; a crate's root has none.
    fn has_part(&self, other: &Self) -> bool {
        let folder = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        let is_root = ["/main", "/lib"].iter().any(|root| folder.ends_with(root));
        let within = other.path.strip_prefix(folder);
        !is_root && within.is_some_and(|within| within.starts_with('/'))
    }

    fn take_use(&mut self, tree: &syn::UseTree, before: &[String], is_private: bool) {
        let with = |name: &syn::Ident| {
            let mut path = before.to_vec();
            path.push(name.to_string());
            path
        };
        match tree {
            syn::UseTree::Path(path) => {
                let before = with(&path.ident);
                self.take_use(&path.tree, &before, is_private);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.take_use(tree, before, is_private);
                }
            }
            syn::UseTree::Glob(_) => self.globs.push(before.to_vec()),
            syn::UseTree::Name(name) if name.ident == "self" => {
                if let Some(last) = before.last() {
                    self.name_use(last.clone(), before.to_vec(), is_private);
                }
            }
            syn::UseTree::Name(name) => {
                self.name_use(name.ident.to_string(), with(&name.ident), is_private);
            }
            syn::UseTree::Rename(rename) => {
                self.name_use(rename.rename.to_string(), with(&rename.ident), is_private);
            }
        }
    }

    fn name_use(&mut self, name: String, path: Names, is_private: bool) {
        if is_private {
            self.taken.insert(path.clone());
        }
        self.uses.insert(name, path);
    }

    /// The paths within a macro's tokens.
    fn take_tokens(&mut self, tokens: &str) {
        let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
        for path in tokens.replace(" :: ", "::").split(|c| !is_name(c)) {
            let names: Names = path
                .split("::")
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect();
            if !names.is_empty() {
                self.taken.insert(names);
            }
        }
    }
}

/// Whether an item is there for tests alone.
fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .parse_args::<syn::Path>()
                .is_ok_and(|path| path.is_ident("test"))
    })
}

impl<'ast> Visit<'ast> for Module {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        let (attributes, name) = match item {
            syn::Item::Const(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Enum(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Fn(i) => (&i.attrs, Some(&i.sig.ident)),
            syn::Item::Static(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Struct(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Trait(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Type(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Union(i) => (&i.attrs, Some(&i.ident)),
            syn::Item::Macro(i) => (&i.attrs, i.ident.as_ref()),
            syn::Item::Impl(i) => (&i.attrs, None),
            syn::Item::Mod(i) => (&i.attrs, None),
            syn::Item::Use(i) => (&i.attrs, None),
            _ => return visit::visit_item(self, item),
        };
        if is_for_tests(attributes) {
            return;
        }
        self.items.extend(name.map(ToString::to_string));
        visit::visit_item(self, item);
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        let is_private = matches!(item.vis, syn::Visibility::Inherited);
        self.take_use(&item.tree, &[], is_private);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names = path.segments.iter().map(|s| s.ident.to_string()).collect();
        self.taken.insert(names);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.take_tokens(&call.tokens.to_string());
        visit::visit_macro(self, call);
    }
}
