//! Pictures as text: SVG that any browser, and the page of a repository, shows.

use std::fmt::Write as _;

/// What is drawn, in the order in which it is.
pub(crate) struct Svg {
    text: String,
}

impl Svg {
    /// An empty picture of this size, with a background of its own, since the page's may be dark. `style` is CSS.
    pub(crate) fn new((width, height): (u32, u32), title: &str, style: &str) -> Self {
        let mut svg = Self {
            text: String::new(),
        };
        svg.line(&format!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">"#
        ));
        svg.line(&format!("<title>{}</title>", escaped(title)));
        svg.line(&format!("<style>{style}</style>"));
        svg.rect((0, 0, width, height), "ground");
        svg
    }

    /// A line of SVG as it is.
    pub(crate) fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// A box with round corners: left, top, width, height.
    pub(crate) fn rect(&mut self, (x, y, width, height): (u32, u32, u32, u32), class: &str) {
        self.line(&format!(
            r#"<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" class="{class}"/>"#
        ));
    }

    /// Words on a line of their own: left and baseline.
    pub(crate) fn words(&mut self, (x, y): (u32, u32), class: &str, words: &str) {
        let words = escaped(words);
        let _ = writeln!(
            self.text,
            r#"<text x="{x}" y="{y}" class="{class}" xml:space="preserve">{words}</text>"#
        );
    }

    /// The whole file.
    pub(crate) fn finish(mut self) -> String {
        self.line("</svg>");
        self.text
    }
}

/// Text as XML has it; what XML cannot hold is left out.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_text_whatever_they_hold() {
        let mut svg = Svg::new((8, 8), "a & b", "");
        svg.words((1, 2), "c", "x < y\u{7} > z");
        let text = svg.finish();
        assert!(text.contains("<title>a &amp; b</title>"), "{text}");
        assert!(text.contains(">x &lt; y &gt; z</text>"), "{text}");
        assert!(text.ends_with("</svg>\n"));
    }
}
