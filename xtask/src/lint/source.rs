//! A Rust file taken apart far enough to be judged: code without comments and strings, comments without code.

/// One source file and two views of it, in which everything else is blanked but the lines stand where they stood.
pub(crate) struct Source {
    /// Path from the workspace's root, with forward slashes.
    pub(crate) path: String,
    /// Comments and the contents of strings and characters blanked.
    pub(crate) code: String,
    /// Everything but comments blanked.
    pub(crate) comments: String,
}

/// Which view a character belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum View {
    Code,
    Comment,
    Literal,
}

impl Source {
    /// Takes the text of the file at `path` apart.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let mut source = Self {
            path: path.to_owned(),
            code: String::new(),
            comments: String::new(),
        };
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            let (view, bytes) = span(rest, first, source.code.chars().next_back());
            let (taken, left) = rest.split_at(bytes);
            source.push(view, taken);
            rest = left;
        }
        source
    }

    fn push(&mut self, view: View, text: &str) {
        let blanked = || text.chars().map(|c| if c == '\n' { '\n' } else { ' ' });
        match view {
            View::Code => self.code.push_str(text),
            View::Comment | View::Literal => self.code.extend(blanked()),
        }
        match view {
            View::Comment => self.comments.push_str(text),
            View::Code | View::Literal => self.comments.extend(blanked()),
        }
    }

    /// How many lines stand before the tests; none where the file itself is one of tests.
    pub(crate) fn lines_before_tests(&self) -> usize {
        if self
            .path
            .split('/')
            .any(|part| matches!(part, "tests" | "tests.rs"))
        {
            return 0;
        }
        self.code
            .lines()
            .take_while(|line| !line.starts_with("#[cfg(test)]"))
            .count()
    }

    /// The attributes with the numbers of their first lines, brackets included.
    pub(crate) fn attributes(&self) -> Vec<(usize, &str)> {
        let starts = self.code.match_indices('#').filter_map(|(at, _)| {
            let inner = self.code[at + 1..].trim_start_matches('!');
            inner.starts_with('[').then_some((at, inner))
        });
        starts
            .map(|(at, inner)| (line_of(&self.code, at), &inner[..bracketed(inner)]))
            .collect()
    }
}

/// The number, from 1, of the line that holds byte `at`.
pub(crate) fn line_of(text: &str, at: usize) -> usize {
    1 + text[..at].bytes().filter(|b| *b == b'\n').count()
}

/// Bytes from an opening bracket to its closing one, both included.
fn bracketed(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '[' => depth += 1,
            ']' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    text.len()
}

/// What stands at the start of `text`, and how many bytes of it belong together. `before` is the last character of
/// code: a raw string's `r` and a lifetime's `'` mean something else inside a name.
fn span(text: &str, first: char, before: Option<char>) -> (View, usize) {
    let is_in_name = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if text.starts_with("//") {
        return (View::Comment, text.find('\n').unwrap_or(text.len()));
    }
    if text.starts_with("/*") {
        return (View::Comment, block_comment(text));
    }
    if let Some(bytes) = (first == 'r' && !is_raw_prefix_hidden(before))
        .then(|| raw_string(text))
        .flatten()
    {
        return (View::Literal, bytes);
    }
    match first {
        '"' => (View::Literal, quoted(text, '"')),
        '\'' if !is_in_name && is_character(text) => (View::Literal, quoted(text, '\'')),
        _ => (View::Code, first.len_utf8()),
    }
}

/// Whether a character before `r"` makes that part of a name; `b` and `c` are prefixes of raw strings themselves.
fn is_raw_prefix_hidden(before: Option<char>) -> bool {
    before.is_some_and(|c| (c.is_alphanumeric() && c != 'b' && c != 'c') || c == '_')
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while let Some(found) = text[at..].find(['/', '*']) {
        at += found;
        let step = &text[at..];
        if step.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if step.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    text.len()
}

/// Bytes of a raw string that starts with `r`; `None` if this is none.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text[1..].bytes().take_while(|b| *b == b'#').count();
    let body = text[1 + hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    Some(
        body.find(&end)
            .map_or(text.len(), |at| 2 + hashes + at + end.len()),
    )
}

fn quoted(text: &str, quote: char) -> usize {
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        if is_escaped {
            is_escaped = false;
        } else if c == '\\' {
            is_escaped = true;
        } else if c == quote {
            return at + 1;
        }
    }
    text.len()
}

/// Whether an apostrophe opens a character, and not a lifetime.
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    match after.next() {
        Some('\\') => true,
        Some(_) => after.next() == Some('\''),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_and_strings_leave_the_code() {
        let source = Source::new(
            "a.rs",
            "let a = \"un//safe\"; // a remark\n/* b /* c */ d */ let e = 'x';",
        );
        assert_eq!(
            source.code,
            format!(
                "let a = {}; {}\n{} let e = {};",
                " ".repeat(10),
                " ".repeat(11),
                " ".repeat(17),
                "   "
            )
        );
        assert_eq!(source.comments.trim(), "// a remark\n/* b /* c */ d */");
    }

    #[test]
    fn raw_strings_end_at_their_own_quote() {
        let source = Source::new("a.rs", "f(r#\"a \" b\"#, br\"c\\\", 'z') + cr");
        assert_eq!(
            source.code.split_whitespace().collect::<Vec<_>>(),
            ["f(", ",", "b", ",", ")", "+", "cr"]
        );
    }

    #[test]
    fn lifetimes_are_no_characters() {
        let source = Source::new(
            "a.rs",
            "fn f<'a>(x: &'a str, c: char) -> bool { c == '\\'' || c == '\"' }",
        );
        assert!(
            source.code.contains("<'a>(x: &'a str, c: char)"),
            "{}",
            source.code
        );
        assert!(source.code.ends_with("|| c ==     }"), "{}", source.code);
    }

    #[test]
    fn attributes_come_with_their_lines() {
        let source = Source::new("a.rs", "#![no_std]\n\n#[cfg(any(a, b))]\nfn f() { x[1] }");
        assert_eq!(
            source.attributes(),
            [(1, "[no_std]"), (3, "[cfg(any(a, b))]")]
        );
    }

    #[test]
    fn tests_do_not_count_as_lines() {
        assert_eq!(
            Source::new("a.rs", "fn a() {}\n\n#[cfg(test)]\nmod tests {}\n").lines_before_tests(),
            2
        );
    }
}
