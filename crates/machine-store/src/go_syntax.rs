//! What Go's `encoding/json` says of a text that is not JSON. `ls` shows it in a row, and callers look for the words.

/// The reference program's text for the first syntax error, or `None` where Go's scanner takes the text.
pub(crate) fn syntax_error(text: &[u8]) -> Option<String> {
    let mut scanner = Scanner { stack: Vec::new(), state: State::BeginValue };
    // Go's scanner takes the end for a space, and complains of it where a space can't be.
    for byte in text.iter().chain(b" ") {
        if let Err(context) = scanner.step(*byte) {
            return Some(format!("invalid character {} {context}", quote(*byte)));
        }
    }
    (!matches!(scanner.state, State::EndTop)).then(|| "unexpected end of JSON input".to_owned())
}

/// What the next byte may be.
#[derive(Clone, Copy)]
enum State {
    BeginValue,
    BeginValueOrEnd,
    BeginKey,
    BeginKeyOrEnd,
    EndValue,
    EndTop,
    InString,
    Escape,
    /// Hexadecimal digits still to come.
    Unicode(u8),
    Minus,
    Zero,
    Integer,
    Dot,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
    /// A word, and how many bytes of it were seen.
    Word(&'static str, usize),
}

/// What is open around the current place.
#[derive(Clone, Copy, PartialEq)]
enum Open {
    Key,
    Value,
    List,
}

struct Scanner {
    stack: Vec<Open>,
    state: State,
}

type Step = Result<State, String>;

impl Scanner {
    fn step(&mut self, byte: u8) -> Result<(), String> {
        self.state = self.next(byte)?;
        Ok(())
    }

    fn next(&mut self, byte: u8) -> Step {
        let space = matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        match self.state {
            State::BeginValueOrEnd if byte == b']' => Ok(self.close()),
            State::BeginKeyOrEnd if byte == b'}' => Ok(self.close()),
            State::BeginValue | State::BeginValueOrEnd | State::BeginKey | State::BeginKeyOrEnd if space => {
                Ok(self.state)
            }
            State::BeginValue | State::BeginValueOrEnd => self.begin_value(byte),
            State::BeginKey | State::BeginKeyOrEnd if byte == b'"' => Ok(State::InString),
            State::BeginKey | State::BeginKeyOrEnd => {
                Err("looking for beginning of object key string".to_owned())
            }
            State::EndValue => self.end_value(byte),
            State::EndTop if space => Ok(State::EndTop),
            State::EndTop => Err("after top-level value".to_owned()),
            State::InString | State::Escape | State::Unicode(_) => self.string(byte),
            State::Word(word, seen) => {
                let expected = word.as_bytes()[seen];
                if byte != expected {
                    return Err(format!("in literal {word} (expecting {})", quote(expected)));
                }
                let seen = seen + 1;
                Ok(if seen == word.len() { self.after_value() } else { State::Word(word, seen) })
            }
            _ => self.number(byte),
        }
    }

    fn begin_value(&mut self, byte: u8) -> Step {
        Ok(match byte {
            b'{' => {
                self.stack.push(Open::Key);
                State::BeginKeyOrEnd
            }
            b'[' => {
                self.stack.push(Open::List);
                State::BeginValueOrEnd
            }
            b'"' => State::InString,
            b'-' => State::Minus,
            b'0' => State::Zero,
            b'1'..=b'9' => State::Integer,
            b't' => State::Word("true", 1),
            b'f' => State::Word("false", 1),
            b'n' => State::Word("null", 1),
            _ => return Err("looking for beginning of value".to_owned()),
        })
    }

    fn string(&self, byte: u8) -> Step {
        match self.state {
            State::Escape => match byte {
                b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"' => Ok(State::InString),
                b'u' => Ok(State::Unicode(4)),
                _ => Err("in string escape code".to_owned()),
            },
            State::Unicode(left) if byte.is_ascii_hexdigit() => {
                Ok(if left == 1 { State::InString } else { State::Unicode(left - 1) })
            }
            State::Unicode(_) => Err("in \\u hexadecimal character escape".to_owned()),
            _ => match byte {
                b'"' => Ok(self.after_value()),
                b'\\' => Ok(State::Escape),
                0..0x20 => Err("in string literal".to_owned()),
                _ => Ok(State::InString),
            },
        }
    }

    fn number(&mut self, byte: u8) -> Step {
        let digit = byte.is_ascii_digit();
        let exponent = matches!(byte, b'e' | b'E');
        match self.state {
            State::Minus if byte == b'0' => Ok(State::Zero),
            State::Minus if digit => Ok(State::Integer),
            State::Minus => Err("in numeric literal".to_owned()),
            State::Integer if digit => Ok(State::Integer),
            State::Zero | State::Integer if byte == b'.' => Ok(State::Dot),
            State::Zero | State::Integer | State::Fraction if exponent => Ok(State::Exponent),
            State::Dot | State::Fraction if digit => Ok(State::Fraction),
            State::Dot => Err("after decimal point in numeric literal".to_owned()),
            State::Exponent if matches!(byte, b'+' | b'-') => Ok(State::ExponentSign),
            State::Exponent | State::ExponentSign | State::ExponentDigits if digit => {
                Ok(State::ExponentDigits)
            }
            State::Exponent | State::ExponentSign => Err("in exponent of numeric literal".to_owned()),
            // The number is over: the byte belongs to what is around it.
            _ => {
                self.state = self.after_value();
                self.next(byte)
            }
        }
    }

    fn end_value(&mut self, byte: u8) -> Step {
        if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
            return Ok(State::EndValue);
        }
        match (self.stack.last_mut(), byte) {
            (Some(open @ Open::Key), b':') => {
                *open = Open::Value;
                Ok(State::BeginValue)
            }
            (Some(Open::Key), _) => Err("after object key".to_owned()),
            (Some(open @ Open::Value), b',') => {
                *open = Open::Key;
                Ok(State::BeginKey)
            }
            (Some(Open::List), b',') => Ok(State::BeginValue),
            (Some(Open::Value), b'}') | (Some(Open::List), b']') => Ok(self.close()),
            (Some(Open::Value), _) => Err("after object key:value pair".to_owned()),
            (Some(Open::List), _) => Err("after array element".to_owned()),
            (None, _) => Err("after top-level value".to_owned()),
        }
    }

    fn close(&mut self) -> State {
        self.stack.pop();
        self.after_value()
    }

    fn after_value(&self) -> State {
        if self.stack.is_empty() { State::EndTop } else { State::EndValue }
    }
}

/// A byte as Go's scanner quotes it: `'x'`, `'"'`, `'\''`, `'\n'`, `'\x00'`.
fn quote(byte: u8) -> String {
    match byte {
        b'\'' => r"'\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        b'\\' => r"'\\'".to_owned(),
        b'\n' => r"'\n'".to_owned(),
        b'\r' => r"'\r'".to_owned(),
        b'\t' => r"'\t'".to_owned(),
        0x07 => r"'\a'".to_owned(),
        0x08 => r"'\b'".to_owned(),
        0x0b => r"'\v'".to_owned(),
        0x0c => r"'\f'".to_owned(),
        0x20..0x7f => format!("'{}'", byte as char),
        0..0x20 | 0x7f => format!(r"'\x{byte:02x}'"),
        // Go takes the byte for a code point.
        0x80..=0xa0 | 0xad => format!(r"'\u{byte:04x}'"),
        _ => format!("'{}'", char::from(byte)),
    }
}
