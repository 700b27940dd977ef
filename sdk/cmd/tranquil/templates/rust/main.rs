//! A state transform: settings.conf of schema 1 has interval=SECONDS, that of
//! schema 2 has interval_ms=MILLISECONDS. All else stays as it is, byte by byte.
use std::io::{self, BufRead, BufWriter, Write};
use std::process::exit;

fn main() -> io::Result<()> {
    let args: Vec<String> = std::env::args().collect();
    let up = match (args.get(1).map(String::as_str), args.get(2).map(String::as_str)) {
        (Some("1"), Some("2")) => true,
        (Some("2"), Some("1")) => false,
        _ => refuse("no such way"),
    };
    let (mut input, mut out) = (io::stdin().lock(), BufWriter::new(io::stdout()));
    let (mut line, mut found) = (Vec::new(), false);
    while input.read_until(b'\n', &mut line)? > 0 {
        let end = if line.ends_with(b"\n") { "\n" } else { "" }; // the last line may have none
        let text = std::str::from_utf8(&line[..line.len() - end.len()]);
        match text.ok().and_then(|text| text.split_once('=')) {
            Some(("interval", value)) if up => {
                write!(out, "interval_ms={}{}", number(value, LONGEST) * 1000, end)?;
                found = true;
            }
            Some(("interval_ms", value)) if !up => {
                let ms = number(value, LONGEST * 1000);
                if ms % 1000 != 0 {
                    refuse(&format!("no whole seconds: {}", value));
                }
                write!(out, "interval={}{}", ms / 1000, end)?;
                found = true;
            }
            _ => out.write_all(&line)?,
        }
        line.clear();
    }
    if !found {
        refuse("there is no interval");
    }
    out.flush()
}

/// An interval in seconds: what has more has no way back.
const LONGEST: u64 = 1_000_000_000;

/// Refuses "+7" and "07" as well: they would come back as 7.
fn number(value: &str, most: u64) -> u64 {
    match value.parse::<u64>() {
        Ok(n) if n <= most && n.to_string() == value => n,
        _ => refuse(&format!("no interval: {}", value)),
    }
}

/// Ends the transform: this is not the state that it knows.
fn refuse(why: &str) -> ! {
    eprintln!("{}", why);
    exit(2)
}
