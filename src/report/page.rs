//! A page of one file: style and script are in it, and it asks for nothing from anywhere; its own security policy sees to that.

use anyhow::Result;
use esmm_funnel_core::run::replace_file;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::io::Write;
use std::path::Path;

const STYLE: &str = include_str!("style.css");
/// Values of charts under the pointer; without it marks still have titles, and every chart a table.
const SCRIPT: &str = include_str!("hover.js");
/// The browser itself refuses whatever would come from a network.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:";

/// A page, from its title to its last section.
#[derive(Debug)]
pub struct Page {
    title: String,
    lead: Markup,
    sections: Vec<Section>,
}

#[derive(Debug)]
struct Section {
    id: String,
    title: String,
    body: Markup,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(title: &str) -> Self {
        Self { title: title.to_owned(), lead: html! {}, sections: Vec::new() }
    }

    /// What stands under the title, before the contents.
    #[must_use]
    pub fn lead(mut self, lead: Markup) -> Self {
        self.lead = lead;
        self
    }

    /// Adds a section. `id` is its anchor: letters, digits and dashes, each id once.
    #[must_use]
    pub fn section(mut self, id: &str, title: &str, body: Markup) -> Self {
        self.sections.push(Section { id: id.to_owned(), title: title.to_owned(), body });
        self
    }

    /// The whole file.
    #[must_use]
    pub fn html(&self) -> String {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(POLICY);
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="generator" content={ "esmm-funnel " (env!("CARGO_PKG_VERSION")) };
                    title { (self.title) }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    header {
                        h1 { (self.title) }
                        (self.lead)
                        nav aria-label="Sections" {
                            @for section in &self.sections { a href={ "#" (section.id) } { (section.title) } " " }
                        }
                    }
                    main {
                        @for section in &self.sections {
                            section id=(section.id) {
                                h2 { (section.title) }
                                (section.body)
                            }
                        }
                    }
                    div #tip role="status" hidden {}
                    script { (PreEscaped(SCRIPT)) }
                }
            }
        }
        .into_string()
    }

    /// Writes the file, whole or not at all.
    ///
    /// # Errors
    /// The file system.
    pub fn write(&self, path: &Path) -> Result<()> {
        replace_file(path, |file| Ok(file.write_all(self.html().as_bytes())?))
    }
}

/// A table in a box of its own, which scrolls where the page is narrow. Cells that read as numbers stand to the right.
#[must_use]
pub fn table<H: AsRef<str>>(header: &[H], rows: &[Vec<String>]) -> Markup {
    let numbers = |column: usize| rows.iter().filter_map(|r| r.get(column)).all(|cell| is_number(cell)) && !rows.is_empty();
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr { @for (i, name) in header.iter().enumerate() { th.n[numbers(i)] scope="col" { (name.as_ref()) } } } }
                tbody { @for row in rows { tr { @for cell in row { (cell_of(cell)) } } } }
            }
        }
    }
}

fn cell_of(text: &str) -> Markup {
    html! { @if is_number(text) { td.n { (text) } } @else { td { (text) } } }
}

/// `1,234`, `-0.5`, `4.05 %`, `0.70 ± 0.01`, `12.5 MiB`, `—`.
fn is_number(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit() || "-−+±–—".contains(c)) && text.chars().filter(|c| c.is_alphabetic()).count() <= 3
}

/// Names and values, one below the other.
#[must_use]
pub fn facts(facts: &[(String, Markup)]) -> Markup {
    html! { dl.facts { @for (name, value) in facts { div { dt { (name) } dd { (value) } } } } }
}

/// A remark in small print.
#[must_use]
pub fn note(text: &str) -> Markup {
    html! { p.note { (text) } }
}

/// What is shown on demand.
#[must_use]
pub fn folded(summary: &str, body: &Markup) -> Markup {
    html! { details { summary { (summary) } (body) } }
}

/// Charts and other figures side by side where there is room.
#[must_use]
pub fn grid(figures: &[Markup]) -> Markup {
    html! { div.grid { @for figure in figures { (figure) } } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_one_file_and_escapes_what_it_is_told() {
        let body = html! { (table(&["name", "auc"], &[vec!["<b>".into(), "0.7".into()]])) };
        let page = Page::new("a <title> & \"more\"").lead(note("5 > 3")).section("one", "First <1>", body).html();
        assert!(page.starts_with("<!DOCTYPE html>") && page.contains("<title>a &lt;title&gt; &amp;"));
        assert!(
            page.contains("5 &gt; 3") && page.contains("<a href=\"#one\">First &lt;1&gt;</a>") && page.contains("<td class=\"n\">0.7</td>")
        );
        for outside in ["http://", "https://", "src=", "@import", "url(", "fetch("] {
            assert!(!page.contains(outside), "{outside}");
        }
    }

    #[test]
    fn numbers_are_told_from_words() {
        assert!(["1,234", "-0.5", "4.05 %", "12.5 MiB", "—", "0.71 ± 0.01"].iter().all(|t| is_number(t)));
        assert!(["click", "", "200 rows left out"].iter().all(|t| !is_number(t)));
    }
}
