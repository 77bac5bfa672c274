//! A text as a code for a camera: on a terminal, as a picture, on a page to be printed.

use std::fmt::Write as _;

use qrcode::types::QrError;
use qrcode::{Color, EcLevel, QrCode};

/// Modules of light around a code, without which cameras do not find it.
const MARGIN: usize = 4;

/// Dark and light modules, with the margin.
pub(crate) struct Code {
    dark: Vec<bool>,
    width: usize,
}

impl Code {
    /// # Errors
    ///
    /// When the text is too long for a code: more than 2331 bytes.
    pub(crate) fn of(text: &str) -> Result<Self, QrError> {
        // A tenth of it may be creased or stained.
        let code = QrCode::with_error_correction_level(text, EcLevel::M)?;
        Ok(Self {
            width: code.width(),
            dark: code
                .to_colors()
                .into_iter()
                .map(|color| color == Color::Dark)
                .collect(),
        })
    }

    fn is_dark(&self, column: usize, row: usize) -> bool {
        let (column, row) = (column.wrapping_sub(MARGIN), row.wrapping_sub(MARGIN));
        let is_inside = column < self.width && row < self.width;
        is_inside
            && self
                .dark
                .get(row * self.width + column)
                .copied()
                .unwrap_or(false)
    }

    /// Lines of half blocks. With `colours` they are black on white on any terminal; without, they
    /// are right where text is light and what is behind it dark.
    pub(crate) fn lines(&self, colours: bool) -> String {
        let size = self.width + 2 * MARGIN;
        let mut lines = String::new();
        for row in (0..size).step_by(2) {
            if colours {
                lines.push_str("\x1b[97;40m");
            }
            for column in 0..size {
                let light = |row| !self.is_dark(column, row);
                lines.push(match (light(row), row + 1 < size && light(row + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            if colours {
                lines.push_str("\x1b[0m");
            }
            lines.push('\n');
        }
        lines
    }

    /// A picture of any size.
    pub(crate) fn svg(&self) -> String {
        let size = self.width + 2 * MARGIN;
        let mut path = String::new();
        for row in 0..size {
            for column in 0..size {
                if self.is_dark(column, row) {
                    let _ = write!(path, "M{column} {row}h1v1h-1z");
                }
            }
        }
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {size} {size}\" \
             shape-rendering=\"crispEdges\"><path fill=\"#fff\" d=\"M0 0h{size}v{size}H0z\"/>\
             <path d=\"{path}\"/></svg>\n"
        )
    }
}

/// A page to be printed: the code, what it says, and the lines that can be typed.
pub(crate) fn page(code: &Code, layer: &str, key: &str, paper: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <title>Key of {layer}</title>\n\
         <style>body{{font-family:sans-serif;max-width:45em;margin:2em auto}}\
         svg{{width:12cm}}pre{{font-size:9pt;overflow-wrap:anywhere;white-space:pre-wrap}}\
         section{{break-inside:avoid}}</style>\n\
         <h1>Key of the backup layer {layer}</h1>\n{parts}</html>\n",
        layer = escaped(layer),
        parts = parts(code, "h2", key, paper),
    )
}

/// The same as a part of another page.
pub(crate) fn section(code: &Code, layer: &str, key: &str, paper: &str) -> String {
    format!(
        "<style>svg{{width:12cm}}section{{break-inside:avoid}}</style>\n\
         <h2 style=\"break-before:page\">Key of layer {layer}</h2>\n{parts}",
        layer = escaped(layer),
        parts = parts(code, "h3", key, paper),
    )
}

fn parts(code: &Code, heading: &str, key: &str, paper: &str) -> String {
    format!(
        "<p>With this page and the passphrase, and only with both, the backup can be read. Keep \
         them in different places.</p>\n\
         <section><{heading}>For a camera</{heading}>\n{svg}\
         <p>Scan it, save the text as a file, and put the key back with <code>ravelin key import \
         FILE</code> or <code>borg key import REPOSITORY FILE</code>.</p></section>\n\
         <section><{heading}>To be typed</{heading}>\n<pre>{paper}</pre>\n\
         <p>Save these lines as a file; <code>ravelin key import FILE</code> says which of them has \
         a mistake. Stock Borg takes them with <code>borg key import --paper REPOSITORY</code>.\
         </p></section>\n\
         <section><{heading}>As text</{heading}>\n<pre>{key}</pre></section>\n",
        svg = code.svg(),
        paper = escaped(paper.trim_end()),
        key = escaped(key.trim_end()),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a camera reads in a picture with so many pixels a module.
    fn scan(size: usize, is_dark: impl Fn(usize, usize) -> bool) -> String {
        let scale = 4;
        let mut picture =
            rqrr::PreparedImage::prepare_from_greyscale(size * scale, size * scale, |x, y| {
                match is_dark(x / scale, y / scale) {
                    true => 0,
                    false => 255,
                }
            });
        let grids = picture.detect_grids();
        let (_, text) = grids.first().expect("a code").decode().unwrap();
        text
    }

    fn key() -> String {
        let lines = ["MTIzNDU2Nzg5MDEyMzQ1Njc4OTA+/abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNO"; 12];
        format!(
            "BORG_KEY {}\n{}\n",
            "0123456789abcdef".repeat(4),
            lines.join("\n")
        )
    }

    #[test]
    fn a_camera_reads_the_lines_of_a_terminal() {
        let code = Code::of(&key()).unwrap();
        let lines = code.lines(false);
        let rows: Vec<Vec<char>> = lines.lines().map(|line| line.chars().collect()).collect();
        let size = rows[0].len();
        let text = scan(size, |x, y| {
            let light = match y % 2 {
                0 => ['█', '▀'],
                _ => ['█', '▄'],
            };
            !light.contains(&rows[y / 2][x])
        });
        assert_eq!(text, key());
        let coloured = code.lines(true);
        assert!(coloured.lines().all(|line| line.ends_with("\x1b[0m")));
    }

    #[test]
    fn a_camera_reads_the_picture_and_the_page() {
        let code = Code::of(&key()).unwrap();
        let page = page(&code, "a <layer>", &key(), "the lines");
        assert!(page.contains("a &lt;layer&gt;"));
        for text in [code.svg(), page] {
            let size: usize = text
                .split_once("viewBox=\"0 0 ")
                .and_then(|(_, rest)| rest.split_once(' '))
                .and_then(|(size, _)| size.parse().ok())
                .unwrap();
            let (_, path) = text.split_once("<path d=\"M").unwrap();
            let (path, _) = path.split_once("h1v1h-1z\"").unwrap();
            let dark: std::collections::HashSet<(usize, usize)> = path
                .split("h1v1h-1zM")
                .map(|place| {
                    let (x, y) = place.split_once(' ').unwrap();
                    (x.parse().unwrap(), y.parse().unwrap())
                })
                .collect();
            assert_eq!(scan(size, |x, y| dark.contains(&(x, y))), key());
        }
    }

    #[test]
    fn what_is_too_long_is_refused() {
        assert!(Code::of(&"x".repeat(3000)).is_err());
    }
}
