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
}
