//! Every key of a recipe in words, from the tables themselves: `xcomp recipe keys` and `docs/recipe.md`.

use std::fmt::Write as _;

use super::described::{Described, Key};
use super::words::Word;

/// The head of `docs/recipe.md`.
pub const HEAD: &str = "# Keys of a recipe

`xcomp recipe keys > docs/recipe.md` writes this page from the tables of the program; do not edit it.
A recipe is strict: an unknown key is an error with its line and the nearest key, and all problems are reported at once.
Paths start at the recipe's folder; what is only read may also be a name of the Hugging Face hub, `hf:OWNER/NAME[@REVISION][/path]` or `hf-dataset:...`, which `xcomp fetch RECIPE` brings.
`--set table.key=value` overrides any key.

";

/// Tables as Markdown that also reads on a terminal.
pub fn markdown(tables: &[Described]) -> String {
    let mut text = String::new();
    for table in tables {
        writeln!(text, "## {}\n", table.meaning).expect("a string takes any text");
        for key in &table.keys {
            let default =
                key.default.as_ref().map_or("absent".into(), |value| format!("`{value}`"));
            let Key { key, meaning, kind, words, .. } = key;
            writeln!(text, "- `{key}` ({kind}, default {default}): {meaning}")
                .expect("a string takes any text");
            for Word { word, meaning } in *words {
                writeln!(text, "  - `\"{word}\"`: {meaning}").expect("a string takes any text");
            }
        }
        text.push('\n');
    }
    text
}
