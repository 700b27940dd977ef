//! A state transform in Rust: the history of a sensor, from rows in degrees
//! Celsius (schema 1) to columns in Kelvin (schema 2), and back.
use std::io::{self, Read, Write};
use std::process::exit;

const ZERO_CELSIUS: i64 = 273_150; // thousandths of a Kelvin
const LIMIT: i64 = 1_000_000_000;
const TOO_LATE: i64 = 253_402_300_800_000; // the year 10000, in milliseconds since 1970

/// Reads JSON of which it knows the order of members.
struct Scanner {
    text: Vec<u8>,
    at: usize,
}

impl Scanner {
    /// Ends the transform: this is not the state that it knows.
    fn refuse(&self, why: &str) -> ! {
        eprintln!("byte {}: {}", self.at, why);
        exit(2)
    }

    fn peek(&self) -> u8 {
        *self.text.get(self.at).unwrap_or(&0)
    }

    /// Passes over white space and, if it follows, over a token.
    fn next(&mut self, token: &str) -> bool {
        while matches!(self.peek(), b' ' | b'\n' | b'\t' | b'\r') {
            self.at += 1;
        }
        let follows = self.text[self.at..].starts_with(token.as_bytes());
        if follows {
            self.at += token.len();
        }
        follows
    }

    fn expect(&mut self, tokens: &[&str]) {
        for token in tokens {
            if !self.next(token) {
                self.refuse(&format!("expected {}", token));
            }
        }
    }

    /// Reads a number below limit, and how many digits it has.
    fn digits(&mut self, limit: i64) -> (i64, usize) {
        let (mut n, mut count) = (0, 0);
        while self.peek().is_ascii_digit() {
            n = n * 10 + i64::from(self.peek() - b'0');
            if n >= limit {
                self.refuse("too large a number");
            }
            self.at += 1;
            count += 1;
        }
        if count == 0 {
            self.refuse("expected a number");
        }
        (n, count)
    }

    fn natural(&mut self, limit: i64) -> i64 {
        self.next("");
        self.digits(limit).0
    }

    /// Reads a decimal fraction as thousandths.
    fn milli(&mut self) -> i64 {
        let sign = if self.next("-") { -1 } else { 1 };
        let mut n = self.digits(LIMIT).0 * 1000;
        if self.peek() == b'.' {
            self.at += 1;
            let (fraction, count) = self.digits(LIMIT);
            if count > 3 {
                self.refuse("more than three decimals");
            }
            n += fraction * [0, 100, 10, 1][count];
        }
        if matches!(self.peek(), b'e' | b'E') {
            self.refuse("a number with an exponent");
        }
        sign * n
    }

    fn part(&mut self, n: usize, after: u8) -> i64 {
        let mut value = 0;
        for _ in 0..n {
            if !self.peek().is_ascii_digit() {
                self.refuse("no time since 1970");
            }
            value = value * 10 + i64::from(self.peek() - b'0');
            self.at += 1;
        }
        if self.peek() != after {
            self.refuse("no time since 1970");
        }
        self.at += 1;
        value
    }

    /// Reads a time as in 2026-11-29T08:00:00.000Z.
    fn millis(&mut self) -> i64 {
        self.expect(&["\""]);
        let (y, m, d) = (self.part(4, b'-'), self.part(2, b'-'), self.part(2, b'T'));
        let (h, min, s, ms) = (self.part(2, b':'), self.part(2, b':'), self.part(2, b'.'), self.part(3, b'Z'));
        if y < 1970 || !(1..=12).contains(&m) || h > 23 || min > 59 || s > 59 {
            self.refuse("no time since 1970");
        }
        let days = days_from(y, m, d);
        if date_of(days) != (y, m, d) {
            self.refuse("no time since 1970");
        }
        self.expect(&["\""]);
        (((days * 24 + h) * 60 + min) * 60 + s) * 1000 + ms
    }

    fn to_columns(&mut self) -> Vec<u8> {
        let (mut kelvin, mut times) = (Vec::new(), Vec::new());
        let (mut first, mut count) = (0, 0);
        self.expect(&["["]);
        loop {
            self.expect(&["{", "\"seq\"", ":"]);
            let seq = self.natural(LIMIT);
            self.expect(&[",", "\"time\"", ":"]);
            let time = self.millis();
            self.expect(&[",", "\"celsius\"", ":"]);
            let celsius = self.milli();
            self.expect(&["}"]);
            if count == 0 {
                first = seq;
            } else {
                kelvin.push(b',');
                times.push(b',');
            }
            if seq != first + count {
                self.refuse("a reading is missing");
            }
            count += 1;
            put_milli(&mut kelvin, celsius + ZERO_CELSIUS);
            times.extend(time.to_string().bytes());
            if !self.next(",") {
                break;
            }
        }
        self.expect(&["]"]);
        let mut out = format!("{{\"unit\":\"K\",\"first\":{},\"kelvin\":[", first).into_bytes();
        out.extend(kelvin);
        out.extend(b"],\"time\":[");
        out.extend(times);
        out.extend(b"]}\n");
        out
    }

    fn to_rows(&mut self) -> Vec<u8> {
        self.expect(&["{", "\"unit\"", ":", "\"K\"", ",", "\"first\"", ":"]);
        let first = self.natural(LIMIT);
        self.expect(&[",", "\"kelvin\"", ":", "["]);
        let mut kelvin = vec![self.milli()];
        while self.next(",") {
            kelvin.push(self.milli());
        }
        self.expect(&["]", ",", "\"time\"", ":", "["]);
        let mut out = vec![b'['];
        for (seq, k) in (first..).zip(kelvin) {
            if seq > first {
                self.expect(&[","]);
                out.push(b',');
            }
            let ms = self.natural(TOO_LATE);
            let ((y, m, d), s) = (date_of(ms / 86_400_000), ms / 1000 % 86_400);
            write!(
                out,
                "{{\"seq\":{},\"time\":\"{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z\",\"celsius\":",
                seq, y, m, d, s / 3600, s / 60 % 60, s % 60, ms % 1000
            )
            .unwrap(); // a Vec takes everything
            put_milli(&mut out, k - ZERO_CELSIUS);
            out.push(b'}');
        }
        self.expect(&["]", "}"]);
        out.extend(b"]\n");
        out
    }
}

/// Writes thousandths as a decimal fraction.
fn put_milli(out: &mut Vec<u8>, n: i64) {
    let text = format!("{}{}.{:03}", if n < 0 { "-" } else { "" }, n.abs() / 1000, n.abs() % 1000);
    out.extend(text.trim_end_matches('0').trim_end_matches('.').bytes());
}

/// Days since 1970 and back, by Howard Hinnant's algorithms.
fn days_from(y: i64, m: i64, d: i64) -> i64 {
    let y = if m <= 2 { y - 1 } else { y };
    let (era, year) = (y / 400, y % 400);
    let day = (153 * (if m > 2 { m - 3 } else { m + 9 }) + 2) / 5 + d - 1;
    era * 146_097 + year * 365 + year / 4 - year / 100 + day - 719_468
}

fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, rest) = (days / 146_097, days % 146_097);
    let year = (rest - rest / 1460 + rest / 36_524 - rest / 146_096) / 365;
    let day = rest - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let m = if month < 10 { month + 3 } else { month - 9 };
    (year + era * 400 + i64::from(m <= 2), m, day - (153 * month + 2) / 5 + 1)
}

fn main() -> io::Result<()> {
    let mut s = Scanner { text: Vec::new(), at: 0 };
    io::stdin().read_to_end(&mut s.text)?;
    let args: Vec<String> = std::env::args().collect();
    let out = match (args.get(1).map(String::as_str), args.get(2).map(String::as_str)) {
        (Some("1"), Some("2")) => s.to_columns(),
        (Some("2"), Some("1")) => s.to_rows(),
        _ => s.refuse("no such way"),
    };
    s.next("");
    if s.at < s.text.len() {
        s.refuse("something follows");
    }
    io::stdout().write_all(&out)
}
