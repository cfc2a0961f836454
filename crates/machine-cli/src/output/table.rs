//! Columns as Go's `text/tabwriter` sets them with the reference program's settings: at least 5 wide, 3 spaces
//! between, the last cell of a line as it is.

const MIN_WIDTH: usize = 5;
const PADDING: usize = 3;

/// Sets lines with tabs between their cells into columns. A column reaches over neighbouring lines that have it.
pub fn columns(text: &str) -> String {
    let ends_in_newline = text.ends_with('\n');
    let body = text.strip_suffix('\n').unwrap_or(text);
    let lines: Vec<Vec<&str>> = body.split('\n').map(|line| line.split('\t').collect()).collect();
    let mut out = Vec::with_capacity(lines.len());
    block(&lines, &mut Vec::new(), &mut out);
    let mut text = out.join("\n");
    if ends_in_newline {
        text.push('\n');
    }
    text
}

/// A column is not cut to less than this.
const NARROWEST: usize = 12;

/// [`columns`] for people at a terminal of so many columns: where a line would wrap, columns that nothing stands in go,
/// then the widest are cut, and where that is not enough, the less important ones go, in this order of their titles. Every
/// line must have the same number of cells; the first has the titles.
pub fn fitted(text: &str, width: usize, less_important: &[&str]) -> String {
    let whole = columns(text);
    if whole.lines().all(|line| line.trim_end().chars().count() <= width) {
        return whole;
    }
    let mut lines: Vec<Vec<&str>> = text.lines().map(|line| line.split('\t').collect()).collect();
    for column in (0..lines.first().map_or(0, Vec::len)).rev() {
        if lines.iter().skip(1).all(|line| line.get(column).is_none_or(|cell| cell.is_empty())) {
            drop_column(&mut lines, column);
        }
    }
    let mut widths = cut_widths(&lines, width);
    for title in less_important {
        let column = lines.first().and_then(|titles| titles.iter().position(|other| other == title));
        if let Some(column) = column.filter(|_| needed(&widths) > width) {
            drop_column(&mut lines, column);
            widths = cut_widths(&lines, width);
        }
    }
    let cut_line = |line: &Vec<&str>| {
        let cells = line.iter().zip(&widths).map(|(cell, width)| cut(cell, *width));
        cells.collect::<Vec<_>>().join("\t") + "\n"
    };
    let set = columns(&lines.iter().map(cut_line).collect::<String>());
    set.lines().map(|line| cut(line.trim_end(), width) + "\n").collect()
}

fn drop_column(lines: &mut [Vec<&str>], column: usize) {
    for line in lines.iter_mut().filter(|line| line.len() > column) {
        line.remove(column);
    }
}

/// The columns of a line whose cells are so wide.
fn needed(widths: &[usize]) -> usize {
    let Some((last, before)) = widths.split_last() else { return 0 };
    before.iter().map(|width| (width + PADDING).max(MIN_WIDTH)).sum::<usize>() + last
}

/// The width of each column so that a line fits, as long as that is possible: the widest gives first.
fn cut_widths(lines: &[Vec<&str>], width: usize) -> Vec<usize> {
    let cells = |column: usize| lines.iter().filter_map(move |line| line.get(column));
    let natural = |column| cells(column).map(|cell| cell.chars().count()).max().unwrap_or(0);
    let mut widths: Vec<usize> = (0..lines.first().map_or(0, Vec::len)).map(natural).collect();
    while needed(&widths) > width {
        let Some(widest) = widths.iter_mut().max().filter(|widest| **widest > NARROWEST) else { break };
        *widest -= 1;
    }
    widths
}

/// A text of at most so many signs; `…` says that there was more.
fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

fn block(lines: &[Vec<&str>], widths: &mut Vec<usize>, out: &mut Vec<String>) {
    let column = widths.len();
    let has_column = |line: &Vec<&str>| line.len() > column + 1;
    let mut at = 0;
    while at < lines.len() {
        if !has_column(&lines[at]) {
            out.push(set(&lines[at], widths));
            at += 1;
            continue;
        }
        let len = lines[at..].iter().take_while(|line| has_column(line)).count();
        let rows = &lines[at..at + len];
        let widest = rows.iter().map(|line| line[column].chars().count() + PADDING).max().unwrap_or(0);
        widths.push(widest.max(MIN_WIDTH));
        block(rows, widths, out);
        widths.pop();
        at += len;
    }
}

fn set(cells: &[&str], widths: &[usize]) -> String {
    let mut line = String::new();
    for (at, cell) in cells.iter().enumerate() {
        line.push_str(cell);
        if at + 1 < cells.len() {
            let missing = widths[at].saturating_sub(cell.chars().count());
            line.extend(std::iter::repeat_n(' ', missing));
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_s_layout() {
        assert_eq!(columns("NAME\tACTIVE\tE\na.b-c\t-\t\n"), "NAME    ACTIVE   E\na.b-c   -        \n");
        assert_eq!(columns("a\tb\nlonger than a\n\nc\td\n"), "a    b\nlonger than a\n\nc    d\n");
        assert_eq!(columns(""), "");
    }

    #[test]
    fn a_narrow_terminal_gets_what_fits() {
        let text = "NAME\tSTATE\tSWARM\tERRORS\nweb1\tRunning\t\tno answer from 203.0.113.7:2376 within 10 s\nb\tStopped\t\t\n";
        assert_eq!(fitted(text, 200, &[]), columns(text));
        assert_eq!(
            fitted(text, 40, &["STATE"]),
            "NAME   STATE     ERRORS\nweb1   Running   no answer from 203.0.1…\nb      Stopped\n"
        );
        assert_eq!(fitted(text, 25, &["STATE"]), "NAME   ERRORS\nweb1   no answer from 20…\nb\n");
        for width in 1..120 {
            let set = fitted(text, width, &[]);
            assert!(set.lines().all(|line| line.trim_end().chars().count() <= width), "{width}:\n{set}");
            assert_eq!(set.lines().count(), 3);
        }
    }
}
