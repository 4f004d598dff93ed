//! Who imports whom: the `use` lines and `crate::` paths of a crate's files, held against an order of its folders.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// Segments of a module's or an item's path, without `crate`.
type Segments = Vec<String>;

/// The modules of a crate, each with the paths that it names; modules for tests are left out.
#[derive(Debug, Default)]
pub struct Imports {
    modules: BTreeMap<Segments, Module>,
}

#[derive(Debug, Default)]
struct Module {
    /// Paths as they are written.
    named: Vec<Segments>,
    /// What `use` brings into the module, by its name there.
    brought: BTreeMap<String, Segments>,
}

impl Imports {
    /// Reads all files below a crate's `src`, but `main.rs` and the `tests.rs` of modules.
    ///
    /// # Panics
    /// If a file cannot be read or is not Rust.
    pub fn of_crate(src: &Path) -> Self {
        let mut imports = Self::default();
        imports.add_folder(src, &[]);
        imports
    }

    fn add_folder(&mut self, folder: &Path, module: &[String]) {
        for entry in fs::read_dir(folder).expect("a readable folder") {
            let path = entry.expect("a readable entry").path();
            let stem = path.file_stem().expect("a file has a name").to_string_lossy().into_owned();
            let own = match stem.as_str() {
                "lib" | "mod" => module.to_vec(),
                name => [module, &[name.to_owned()]].concat(),
            };
            if path.is_dir() {
                self.add_folder(&path, &own);
            } else if path.extension().is_some_and(|it| it == "rs")
                && stem != "main"
                && stem != "tests"
            {
                self.add(&own, &fs::read_to_string(&path).expect("a readable file"));
            }
        }
    }

    /// Adds the text of one module.
    ///
    /// # Panics
    /// If it is not Rust.
    pub fn add(&mut self, module: &[String], text: &str) {
        let tokens: TokenStream = text.parse().expect("a Rust file");
        self.scan(module, &tokens.into_iter().collect::<Vec<_>>());
    }

    fn scan(&mut self, module: &[String], tokens: &[TokenTree]) {
        self.modules.entry(module.to_vec()).or_default();
        let mut rest = tokens;
        while let [first, behind @ ..] = rest {
            rest = match (word(first).as_str(), behind) {
                ("#", [TokenTree::Group(attribute), item @ ..])
                    if for_tests(&attribute.stream()) =>
                {
                    behind_item(item)
                }
                ("use", _) => self.add_use(module, behind),
                ("mod", [name, TokenTree::Group(body), after @ ..]) => {
                    let inner = [module, &[word(name)]].concat();
                    self.scan(&inner, &body.stream().into_iter().collect::<Vec<_>>());
                    after
                }
                ("crate" | "self" | "super", [colon, ..]) if word(colon) == ":" => {
                    let (path, after) = plain_path(rest);
                    self.module(module).named.push(path);
                    after
                }
                _ => {
                    if let TokenTree::Group(group) = first {
                        let inner: Vec<_> = group.stream().into_iter().collect();
                        // `pub(in path)` says who may see an item, it takes nothing from there.
                        if inner.first().is_none_or(|token| word(token) != "in") {
                            self.scan(module, &inner);
                        }
                    }
                    behind
                }
            };
        }
    }

    fn module(&mut self, module: &[String]) -> &mut Module {
        self.modules.get_mut(module).expect("a module that is being read")
    }

    /// The tree behind `use`, up to its semicolon.
    fn add_use<'a>(&mut self, module: &[String], tokens: &'a [TokenTree]) -> &'a [TokenTree] {
        let end = tokens.iter().position(|token| word(token) == ";").unwrap_or(tokens.len());
        let mut leaves = vec![];
        expand(&tokens[..end], &[], &mut leaves);
        let module = self.module(module);
        for (path, name) in leaves {
            module.brought.insert(name, path.clone());
            module.named.push(path);
        }
        &tokens[end..]
    }

    /// The module where what a path names lives; `None` for another crate's.
    fn home(&self, from: &[String], path: &[String]) -> Option<Segments> {
        let (first, names) = path.split_first()?;
        let relative = [from, std::slice::from_ref(first)].concat();
        let mut at = match first.as_str() {
            "crate" => vec![],
            "self" => from.to_vec(),
            "super" => from.split_last()?.1.to_vec(),
            _ if self.modules.contains_key(&relative) => relative,
            _ => return None,
        };
        for (index, name) in names.iter().enumerate() {
            let inner = [at.as_slice(), std::slice::from_ref(name)].concat();
            let brought = self.modules.get(&at).and_then(|module| module.brought.get(name));
            match brought {
                _ if name == "super" => drop(at.pop()),
                _ if self.modules.contains_key(&inner) => at = inner,
                Some(elsewhere) if at != from => {
                    let whole = [elsewhere, &names[index + 1..]].concat();
                    return self.home(&at, &whole).or(Some(at));
                }
                _ => break, // an item of this module
            }
        }
        Some(at)
    }

    /// Which module names which.
    fn edges(&self) -> BTreeSet<(Segments, Segments)> {
        let of_module = |(from, module): (&Segments, &Module)| {
            let homes = module.named.iter().filter_map(|path| self.home(from, path));
            homes.map(|to| (from.clone(), to)).collect::<Vec<_>>()
        };
        self.modules.iter().flat_map(of_module).filter(|(from, to)| from != to).collect()
    }

    /// What is wrong where folders should keep to an order: imports that point up or aside, and folders that only one of both knows.
    ///
    /// The root of the crate may name everything.
    pub fn against(&self, order: &Order) -> Vec<String> {
        let there: BTreeSet<&String> =
            self.modules.keys().filter_map(|path| path.first()).collect();
        let listed: BTreeSet<&String> = order.lines.iter().flatten().collect();
        let mut wrong: Vec<String> = there
            .symmetric_difference(&listed)
            .map(|folder| format!("`{folder}` is only in one of the list and the sources"))
            .collect();
        for (from, to) in self.edges() {
            let (Some(lower), Some(upper)) = (to.first(), from.first()) else { continue };
            if lower != upper && order.floor(lower) >= order.floor(upper) {
                wrong.push(format!("{} imports from {}", from.join("::"), to.join("::")));
            }
        }
        wrong
    }

    /// Circles of modules that import each other, but for imports from the parent module; one line each.
    pub fn circles(&self) -> Vec<String> {
        let mut edges = self.edges();
        edges.retain(|(from, to)| from.split_last().is_some_and(|(_, parent)| parent != to));
        let reached = |start: &Segments| {
            let (mut found, mut open) = (BTreeSet::new(), vec![start.clone()]);
            while let Some(at) = open.pop() {
                let next = edges.iter().filter(|(from, _)| *from == at).map(|(_, to)| to);
                open.extend(next.filter(|to| found.insert((*to).clone())).cloned());
            }
            found
        };
        let behind: BTreeMap<&Segments, BTreeSet<Segments>> =
            self.modules.keys().map(|module| (module, reached(module))).collect();
        let circle_of = |(module, found): (&&Segments, &BTreeSet<Segments>)| {
            let members = found.iter().filter(|other| behind[other].contains(*module));
            members.map(|other| other.join("::")).collect::<Vec<_>>().join(", ")
        };
        let circles: BTreeSet<String> = behind.iter().map(circle_of).collect();
        circles.into_iter().filter(|circle| !circle.is_empty()).collect()
    }
}

/// The folders of a crate, lowest first; those of one line may not import each other.
#[derive(Debug)]
pub struct Order {
    lines: Vec<Vec<String>>,
}

impl Order {
    /// The list in a Markdown text between a fence marked `order NAME` and its end.
    ///
    /// # Panics
    /// If there is none.
    pub fn of_crate(text: &str, name: &str) -> Self {
        let mut lines = text.lines().skip_while(|line| *line != format!("```order {name}")).skip(1);
        let list = lines.by_ref().take_while(|line| *line != "```");
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect();
        let lines: Vec<Vec<String>> = list.map(words).collect();
        assert!(!lines.is_empty(), "no order of {name}'s folders");
        Self { lines }
    }

    /// The line of a folder; none for a folder that is not listed.
    fn floor(&self, folder: &String) -> Option<usize> {
        self.lines.iter().position(|line| line.contains(folder))
    }
}

fn word(token: &TokenTree) -> String {
    match token {
        TokenTree::Group(_) => String::new(),
        token => token.to_string(),
    }
}

/// Whether an attribute is `#[cfg(test)]`, alone or among other conditions.
fn for_tests(attribute: &TokenStream) -> bool {
    let text = attribute.to_string();
    text.starts_with("cfg") && text.split(|c: char| !c.is_alphanumeric()).any(|it| it == "test")
}

/// What follows an item: its semicolon or its block ends it.
fn behind_item(tokens: &[TokenTree]) -> &[TokenTree] {
    let is_end = |token: &TokenTree| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => word(token) == ";",
    };
    let end = tokens.iter().position(is_end).map_or(tokens.len(), |end| end + 1);
    &tokens[end..]
}

/// `crate::a::b` at the start of an expression or type, and what follows it.
fn plain_path(tokens: &[TokenTree]) -> (Segments, &[TokenTree]) {
    let mut path = vec![word(&tokens[0])];
    let mut rest = &tokens[1..];
    while let [TokenTree::Punct(_), TokenTree::Punct(_), TokenTree::Ident(name), behind @ ..] = rest
    {
        path.push(name.to_string());
        rest = behind;
    }
    (path, rest)
}

/// The paths of a `use` tree, each with its name in the module.
fn expand(tree: &[TokenTree], before: &[String], leaves: &mut Vec<(Segments, String)>) {
    let mut path = before.to_vec();
    for (index, token) in tree.iter().enumerate() {
        match token {
            TokenTree::Punct(point) if point.as_char() == '*' => leaves.push((path, "*".into())),
            TokenTree::Punct(_) => continue,
            TokenTree::Group(group) => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                inner.split(|it| word(it) == ",").for_each(|tree| expand(tree, &path, leaves));
            }
            token if word(token) == "as" => {
                let alias = tree.get(index + 1).map(word).unwrap_or_default();
                leaves.push((path, alias));
            }
            token => {
                path.push(word(token));
                continue;
            }
        }
        return;
    }
    if path.last().is_some_and(|last| last == "self") && path.len() > 1 {
        path.pop(); // `a::{self}`
    }
    if let Some(name) = path.last().cloned() {
        leaves.push((path, name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules of a made-up crate; paths are written as in Rust.
    fn imports(files: &[(&str, &str)]) -> Imports {
        let mut imports = Imports::default();
        for (module, text) in files {
            let path: Vec<String> =
                module.split("::").filter(|it| !it.is_empty()).map(str::to_owned).collect();
            imports.add(&path, text);
        }
        imports
    }

    /// `low` and `aside` are peers below `high`; `text` stands in `low`.
    fn check(text: &str, want: &[&str]) {
        let order = Order::of_crate("```order it\nlow aside\nhigh\n```", "it");
        let files =
            [("", "pub use high::top::Roof;"), ("low", text), ("aside", ""), ("high::top", "")];
        let imports = imports(&[&files[..], &[("high", "use crate::low::Floor;")]].concat());
        assert_eq!(imports.against(&order), want, "{text}");
    }

    #[test]
    fn an_import_that_points_up_or_aside_is_named() {
        check("use std::fs; use crate::low::Own;", &[]);
        check("use crate::high::top::Roof;", &["low imports from high::top"]);
        check("use crate::{Roof as R};", &["low imports from high::top"]);
        check("use super::{high::{self}, low::X};", &["low imports from high"]);
        check("fn f() { println!(\"{}\", crate::aside::f()) }", &["low imports from aside"]);
        check("mod inner { use super::super::aside::*; }", &["low::inner imports from aside"]);
    }

    #[test]
    fn text_comments_and_tests_import_nothing() {
        check("/// [`crate::high`]\nconst A: &str = \"use crate::high::B;\";", &[]);
        check("#[cfg(test)] mod tests { use crate::high::Roof; }", &[]);
        check("#[cfg(all(test, unix))] use crate::high::{Roof}; use crate::low::X;", &[]);
    }

    #[test]
    fn the_list_names_the_folders_that_are_there() {
        let order = Order::of_crate("```order it\nlow gone\n```", "it");
        let wrong = imports(&[("low", ""), ("new", "")]).against(&order);
        assert_eq!(wrong.len(), 2, "{wrong:?}");
    }

    #[test]
    fn circles_are_found_but_for_children_that_use_their_parent() {
        let parent = ("a", "use a_part::X; mod a_part { use super::Y; }");
        assert!(imports(&[parent, ("b", "use crate::a::Y;")]).circles().is_empty());
        let files =
            [("a", "use crate::b::B;"), ("b", "use crate::c::C;"), ("c", "use crate::a::A;")];
        assert_eq!(imports(&files).circles(), ["a, b, c"]);
    }
}
